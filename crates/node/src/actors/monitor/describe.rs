//! What each metric says, in the words that Prometheus shows.

use metrics::{describe_counter, describe_gauge, describe_histogram};

pub(super) fn all() {
    raft();
    peers();
    disk();
    leases_and_pools();
    engines();
}

fn raft() {
    describe_gauge!("leasehold_server_version", "1; the label is this node's version.");
    describe_gauge!("leasehold_server_has_leader", "1 if this node leads or hears the leader.");
    describe_gauge!("leasehold_server_is_leader", "1 if this node leads.");
    describe_gauge!("leasehold_server_is_learner", "1 if this node has no vote.");
    describe_gauge!("leasehold_server_term", "The Raft term.");
    describe_counter!("leasehold_server_leader_changes_seen_total", "Changes of the leader.");
    describe_counter!(
        "leasehold_server_proposals_committed_total",
        "Log entries that a majority has, as far as this node has heard."
    );
    describe_counter!("leasehold_server_proposals_applied_total", "Log entries applied.");
    describe_gauge!("leasehold_server_proposals_pending", "Proposals made here that wait.");
    describe_counter!(
        "leasehold_server_proposals_failed_total",
        "Proposals made here that were refused, or of which it is not known whether they count."
    );
    describe_histogram!(
        "leasehold_server_proposal_duration_seconds",
        "Time from a proposal until it was committed and applied."
    );
    describe_histogram!("leasehold_server_apply_duration_seconds", "Time to apply one entry.");
    describe_counter!("leasehold_server_slow_apply_total", "Entries that took over 100 ms.");
    describe_gauge!(
        "leasehold_server_snapshot_apply_in_progress_total",
        "1 while a snapshot of another node is taken in."
    );
    describe_counter!(
        "leasehold_server_learner_promote_successes_total",
        "Nodes that this one, as leader, has given a vote."
    );
    describe_counter!("leasehold_server_health_success_total", "Answers of /readyz: ready.");
    describe_counter!("leasehold_server_health_failures_total", "Answers of /readyz: not ready.");
}

fn peers() {
    describe_gauge!(
        "leasehold_network_active_peers",
        "0 once a node has given no answer for 2 s to what this one sends it."
    );
    describe_histogram!(
        "leasehold_network_peer_round_trip_time_seconds",
        "Time until a heartbeat of the leader was answered."
    );
    describe_counter!("leasehold_network_peer_sent_bytes_total", "Raft payload sent to a node.");
    describe_counter!(
        "leasehold_network_peer_received_bytes_total",
        "Raft payload received of a node."
    );
    describe_counter!(
        "leasehold_network_peer_refused_total",
        "Messages of nodes that were for another cluster or node, or in no known format."
    );
    describe_counter!(
        "leasehold_network_peer_sent_failures_total",
        "Raft messages that a node gave no answer to."
    );
    describe_counter!(
        "leasehold_server_heartbeat_send_failures_total",
        "Those of them that were heartbeats."
    );
}

fn disk() {
    describe_counter!("leasehold_disk_wal_write_bytes_total", "Bytes written to the Raft log.");
    describe_histogram!(
        "leasehold_disk_wal_fsync_duration_seconds",
        "Time until the disk confirmed a group of log entries."
    );
    describe_histogram!(
        "leasehold_disk_backend_commit_duration_seconds",
        "Time to write a batch to the log's database, without the sync."
    );
    describe_histogram!(
        "leasehold_snap_db_save_total_duration_seconds",
        "Time to write a snapshot, sync and all."
    );
    describe_gauge!("leasehold_db_total_size_in_bytes", "Size of the data directory's files.");
    describe_gauge!("leasehold_disk_available_bytes", "Space that its disk has left.");
}

fn leases_and_pools() {
    describe_gauge!("leasehold_lease_left_seconds", "How long this node may still lend.");
    describe_gauge!("leasehold_lease_epoch", "The newest opening of this node's lease.");
    describe_gauge!("leasehold_member_lease_live", "1 if the member's lease is live.");
    describe_gauge!(
        "leasehold_member_heartbeat_age_seconds",
        "Time since this node applied the member's last heartbeat."
    );
    describe_gauge!("leasehold_pool_units", "Units of each pool, by where they are.");
    describe_gauge!("leasehold_node_pool_units", "Units of each pool lent to this node.");
    describe_gauge!("leasehold_feature_waiting_units", "Units that requests wait for here.");
    describe_gauge!("leasehold_entitlement_serial", "The entitlement in force.");
    describe_counter!("leasehold_invariant_violations_total", "Broken invariants of the ledger.");
    describe_counter!(
        "leasehold_replica_divergences_total",
        "Beats of a node whose ledger is another one than this node's."
    );
}

fn engines() {
    describe_gauge!("leasehold_checkouts_running", "Checkouts that run at this node.");
    describe_gauge!("leasehold_checkouts_waiting", "Requests in this node's queue.");
    describe_counter!("leasehold_checkouts_granted_total", "Checkouts granted.");
    describe_counter!("leasehold_checkouts_renewed_total", "Renewals.");
    describe_counter!("leasehold_checkouts_returned_total", "Checkouts given back by engines.");
    describe_counter!("leasehold_checkouts_expired_total", "Checkouts that ended unrenewed.");
    describe_counter!("leasehold_checkouts_reclaimed_total", "Checkouts moved here.");
    describe_counter!("leasehold_checkouts_covered_total", "Checkouts covered by free units.");
    describe_counter!("leasehold_checkouts_handed_over_total", "Checkouts given to other nodes.");
    describe_counter!("leasehold_denials_total", "Denials, by reason.");
    describe_counter!("leasehold_feature_checkouts_total", "Checkout requests, by feature.");
    describe_counter!("leasehold_feature_denials_total", "Denials, by feature.");
    describe_counter!("leasehold_recognitions_total", "Speech recognitions reported.");
    describe_counter!("leasehold_syntheses_total", "Speech syntheses reported.");
    describe_counter!(
        "leasehold_overrun_milliseconds_total",
        "Time that engines went on after their checkout had ended."
    );
    describe_histogram!("leasehold_call_duration_seconds", "Time to answer a call of engines.");
}
