//! One cluster, one voter, one process where there is one: what mistaken operators, lost and copied
//! disks, and other nodes' certificates can't do.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use leasehold_cluster_tests::{
    Cluster, Engines, Layout, Ports, Shape, metric, program_command, refuse, until,
};
use leasehold_proto::internal::v1 as internal;
use leasehold_proto::internal::v1::membership_client::MembershipClient;
use leasehold_proto::internal::v1::raft_client::RaftClient;
use leasehold_proto::v1;
use tonic::Code;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

const ENTITLED: [(&str, u64); 1] = [("asr.tier1", 10)];
const PATIENCE: Duration = Duration::from_secs(30);

/// It had been stamped before the leader was asked, and voted: with another node's help it elected a
/// leader that lacked what the lost disk had acknowledged, and 40 of 20 units were lent.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_its_disk_is_refused_and_gives_no_vote() {
    let mut cluster = Cluster::start(Shape::quick(), 3, &ENTITLED).await;
    let leader = cluster.leader(1).await;
    let [lost, other] = [1, 2, 3].into_iter().filter(|id| *id != leader).collect::<Vec<_>>()[..]
    else {
        panic!("three nodes without one are two")
    };
    cluster.kill_9(lost);
    std::fs::remove_dir_all(cluster.layout(lost).data()).unwrap();
    cluster.start_node(lost);
    let refused = cluster.try_join(lost, leader).await.expect_err("it has forgotten its vote");
    assert!(refused.message().contains("with another data directory"), "{refused}");
    let stamp = std::fs::read_to_string(cluster.layout(lost).data().join("stamp")).unwrap();
    assert!(stamp.contains("standing fresh\n"), "as if it had never asked: {stamp}");

    cluster.kill_9(leader);
    until("the other follower hears no leader", PATIENCE, async || {
        cluster.status(other).await.leader.is_none().then_some(())
    })
    .await;
    let term = cluster.status(other).await.term;
    let election_max = Duration::from_millis(Shape::quick().timings.election_max_ms);
    let waits_until = Instant::now() + 10 * election_max;
    while Instant::now() < waits_until {
        let status = cluster.status(other).await;
        assert_eq!((status.leader, status.term), (None, term), "one vote of three elected it");
    }
    cluster.start_node(leader);
    cluster.leader(other).await;
    let client = Engines::new().client(&cluster.engine_config(&[leader, other], ""));
    let guard = client.checkout(&[("asr.tier1", 1)]).await.expect("two of three are a majority");
    guard.checkin().await.expect("an acknowledgement");
}

/// It took the id that the directory was stamped with: the same entitlement was valid in both.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_joined_founds_no_second_cluster() {
    let mut cluster = Cluster::start(Shape::quick(), 2, &ENTITLED).await;
    let request = v1::InitClusterRequest { timings: None, trusted_keys: vec![vec![1; 32].into()] };
    let refused =
        cluster.admin(2).await.init_cluster(request).await.expect_err("it belongs to one");
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    assert!(refused.message().contains("already belongs to cluster"), "{refused}");
}

/// It was a learner for ever, with an address in the log for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_address_leads_elsewhere_is_refused_until_it_is_right() {
    let mut cluster = Cluster::start(Shape::quick(), 1, &ENTITLED).await;
    let right = cluster.layout(2);
    let nobody = Ports::free().peers;
    let ones = cluster.layout(1).ports.peers;
    for (wrong, expected) in [(ones, "node 1 answers there"), (nobody, "no connection to")] {
        Layout { peer_address: Some(wrong), ..right.clone() }.write();
        cluster.start_node(2);
        let refused = cluster.try_join(2, 1).await.expect_err("it would never hear of the leader");
        assert!(refused.message().contains("does not lead back to it"), "{refused}");
        assert!(refused.message().contains(expected), "{refused}");
        assert_eq!(cluster.status(1).await.nodes.len(), 1, "nothing of it stays");
        cluster.stop(2).await;
    }
    right.write();
    cluster.start_node(2);
    cluster.join(2, 1).await;
    cluster.wait_for_voters(2).await;
}

/// In Raft the two were one voter with two votes.
#[tokio::test(flavor = "multi_thread")]
async fn a_copied_directory_is_refused_and_a_moved_one_needs_the_operators_word() {
    let mut cluster = Cluster::start(Shape::quick(), 1, &ENTITLED).await;
    let original = cluster.layout(1);
    let copy = Layout { directory: cluster.path("copy"), ports: Ports::free(), ..original.clone() };
    copy.write();
    cluster.stop(1).await;
    copy_directory(&original.data(), &copy.data());
    let refusal = refuse(&copy.config()).await;
    assert_eq!(refusal.code, Some(1));
    for said in ["is a copy, or was restored", "serve --moved"] {
        assert!(refusal.stderr.contains(said), "no `{said}` in {}", refusal.stderr);
    }
    cluster.start_node(1);
    cluster.wait_until_ready(1).await;

    cluster.kill_9(1);
    std::fs::remove_dir_all(original.data()).unwrap();
    std::fs::rename(copy.data(), original.data()).unwrap();
    let mut moved = program_command(&original.config());
    let mut moved = moved.arg("--moved").kill_on_drop(true).spawn().unwrap();
    let mut admin = cluster.admin(1).await;
    until("the moved node leads", PATIENCE, async || {
        admin.status(v1::StatusRequest {}).await.ok()?.into_inner().leader
    })
    .await;
    moved.kill().await.unwrap();
    cluster.start_node(1);
    cluster.wait_until_ready(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_heard_only_as_itself_and_never_after_its_removal() {
    let mut cluster = Cluster::start(Shape::quick(), 3, &ENTITLED).await;
    let leader = cluster.leader(1).await;
    let [taker, leaver] = [1, 2, 3].into_iter().filter(|id| *id != leader).collect::<Vec<_>>()[..]
    else {
        panic!("three nodes without one are two")
    };
    let term = cluster.status(leader).await.term;
    // Somebody has the disk and the certificate of a node: all that it knows.
    let own = |from: u64, to: u64, cluster: &mut Cluster| {
        let (from, to) = (stamp(&cluster.layout(from)), stamp(&cluster.layout(to)));
        header(&from, &to)
    };

    let as_another = own(taker, leader, &mut cluster);
    let refused = vote(&mut cluster, leader, &format!("node-{leaver}"), as_another).await;
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    let said =
        format!("the certificate is that of node {leaver}, the message is from node {taker}");
    assert!(refused.message().contains(&said), "{refused}");

    let itself = own(leaver, leader, &mut cluster);
    let payload = b"\x91\x81\xa7Unfence\x81\xa4node\x01".as_slice();
    let request =
        internal::ProposeRequest { header: Some(itself.clone()), payload: payload.into() };
    let peers = cluster.layout(leader).ports.peers;
    let mut members = MembershipClient::new(channel(peers, cluster.tls(&format!("node-{leaver}"))));
    let refused = members.propose(request).await.expect_err("the leader's own business");
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    assert!(refused.message().contains("may not propose this for others"), "{refused}");

    let headers = [leader, taker].map(|to| (to, own(leaver, to, &mut cluster)));
    cluster.remove(leaver, leader).await;
    cluster.farewell(leaver).await;
    for (to, header) in headers {
        let removed = "was removed from the cluster";
        until(&format!("node {to} refuses the removed one"), PATIENCE, async || {
            let refused = vote(&mut cluster, to, &format!("node-{leaver}"), header.clone()).await;
            refused.message().contains(removed).then_some(())
        })
        .await;
        let http = cluster.layout(to).ports.http;
        let counted = "leasehold_network_peer_refused_total{reason=\"removed\"}";
        assert!(metric(http, counted).await >= Some(1));
        let log = std::fs::read_to_string(cluster.layout(to).log()).unwrap();
        let told = log.lines().filter(|line| line.contains("is refused") && line.contains(removed));
        assert_eq!(told.count(), 1, "{log}");
    }
    let status = cluster.status(leader).await;
    assert_eq!((status.term, status.leader), (term, Some(leader)), "nobody noticed");
}

/// Asks for a vote with a payload that can't be read: whoever hears the sender at all says so.
async fn vote(
    cluster: &mut Cluster,
    at: u64,
    certificate: &str,
    header: internal::Header,
) -> tonic::Status {
    let peers = cluster.layout(at).ports.peers;
    let mut raft = RaftClient::new(channel(peers, cluster.tls(certificate)));
    let request = internal::RaftRequest { header: Some(header), payload: vec![1].into() };
    raft.vote(request).await.expect_err("nothing that could be granted")
}

/// What the stamp of a data directory says.
struct Stamp {
    node: u64,
    cluster: Vec<u8>,
    generation: Vec<u8>,
    incarnation: Vec<u8>,
}

fn stamp(layout: &Layout) -> Stamp {
    let text = std::fs::read_to_string(layout.data().join("stamp")).unwrap();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name}in {text}")).to_owned()
    };
    let bytes = |name: &str| u128::from_str_radix(&field(name), 16).unwrap().to_be_bytes().to_vec();
    Stamp {
        node: field("node ").parse().unwrap(),
        cluster: bytes("cluster "),
        generation: bytes("generation "),
        incarnation: bytes("incarnation "),
    }
}

fn header(from: &Stamp, to: &Stamp) -> internal::Header {
    internal::Header {
        cluster_id: from.cluster.clone().into(),
        from_node: from.node,
        to_node: to.node,
        format: 2,
        generation: from.generation.clone().into(),
        from_incarnation: from.incarnation.clone().into(),
        to_incarnation: to.incarnation.clone().into(),
    }
}

fn channel(address: SocketAddr, tls: ClientTlsConfig) -> Channel {
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
    endpoint.timeout(Duration::from_secs(10)).tls_config(tls).unwrap().connect_lazy()
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_directory(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
