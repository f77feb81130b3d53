//! Every fault that the simulator can make and every transition that it can tell of, by the names
//! under which they are counted: one that never occurs is listed as not tested.

use crate::runner::Summary;

/// Kinds that must occur in so many seeds: a run that never reaches them says nothing of them.
const MUST: [(u64, &[&str]); 3] = [(300, &FREQUENT), (2_000, &RARE), (100_000, &RAREST)];

/// What occurs in some hundred seeds.
const FREQUENT: [&str; 121] = [
    "all free units drawn in one place",
    "allotments lapsed",
    "allotments thawed",
    "beat of an ended lease",
    "call begun",
    "check-in passed on",
    "checkout given up",
    "checkout handed over",
    "checkout moved with its engine",
    "checkout reclaimed",
    "denied bad_request",
    "denied contract_ended",
    "denied cut_off",
    "denied draining",
    "denied exhausted",
    "denied maintenance_ended",
    "denied no_entitlement",
    "denied not_entitled",
    "denied not_ready",
    "denied receipt_expired",
    "denied receipt_invalid",
    "desk covered",
    "desk granted",
    "desk handed over",
    "desk let expire",
    "desk renewed",
    "desk took in a moved checkout",
    "epoch opened",
    "epoch opened anew",
    "fault check-in at another node",
    "fault check-in sent twice",
    "fault checkout asked for again at another node",
    "fault checkout asked for again at the same node",
    "fault clock as fast as may be",
    "fault clock as slow as may be",
    "fault commit whose answer was lost",
    "fault commits late by seconds",
    "fault contract ended while units were lent",
    "fault disk lost, back as a new node",
    "fault engine crashed, asking",
    "fault engine crashed, idle",
    "fault engine crashed, in a call",
    "fault engine gone without check-in",
    "fault engine renewed late",
    "fault entitled units became fewer",
    "fault entitled units became fewer than were lent",
    "fault entitled units became more",
    "fault entitlement replaced",
    "fault leader killed",
    "fault leadership moved",
    "fault machine frozen again and again below the margin",
    "fault machine frozen with its steady clock",
    "fault message cut off",
    "fault message late by seconds",
    "fault message lost",
    "fault message overtook another",
    "fault message sent twice",
    "fault nobody elected",
    "fault node applies the log late",
    "fault node back without proof that its predecessor is gone",
    "fault node drained and restarted",
    "fault node fenced",
    "fault node killed",
    "fault node paused",
    "fault node paused in the middle of a step",
    "fault node removed",
    "fault partition, both ways",
    "fault partition, cluster in two",
    "fault partition, engine from node",
    "fault partition, engine from node, one way",
    "fault partition, node from engines",
    "fault partition, one way, node deaf",
    "fault partition, one way, node not heard",
    "fault partition, site with its engines",
    "fault proposal committed by a later leader",
    "fault proposal lost with its leader",
    "fault proposal of a deposed leader",
    "fault receipt forged",
    "fault request for nothing",
    "fault request id may be used twice",
    "fault set no longer entitled",
    "fault two processes under one node id",
    "fault wall clock stepped back",
    "fault wall clock stepped forward",
    "freeze refused, a beat came first",
    "grant given back",
    "granted after waiting",
    "late renewal, nothing extended",
    "leader elected",
    "leader told that it leads no more",
    "lease ended",
    "moves forgotten",
    "nothing to draw",
    "opening refused",
    "operation refused",
    "process started again",
    "reclaim refused: the allotment was frozen while its holder might still lend: ask again later",
    "reclaim while it lives",
    "renewal failed: a message between nodes was lost",
    "renewal failed: a node applied the log late",
    "renewal failed: its message was late",
    "renewal failed: its message was lost",
    "renewal failed: its node lived, could not be reached, and no unit was free",
    "renewal failed: no leader had a majority",
    "renewal failed: the engine was cut off from the node",
    "renewal failed: the lease of its node might still run",
    "renewal failed: the log stood still",
    "renewal failed: the node had not heard of the leader",
    "renewal failed: the node was cut off from the leader",
    "renewal failed: the node was down",
    "renewal failed: the node was fenced, or not admitted yet",
    "renewal failed: the node was paused",
    "renewal failed: the node was removed or replaced",
    "renewal failed: two processes ran under one node id",
    "renewed",
    "snapshot installed",
    "steward started",
    "units drawn",
    "units recalled",
    "units returned",
    "wait of longer than half a lifetime",
];

/// What needs as many seeds as `make test` runs.
const RARE: [&str; 8] = [
    "fault node fenced that is off",
    "late renewal of a checkout that has moved on",
    "nothing free to ask for",
    "reclaim refused: the checkout has ended",
    "renewal failed: its wall clock was set",
    "renewal failed: the engine showed a forged receipt",
    "renewal failed: the lease of its node had just ended",
    "renewal failed: the network was slower than a claim allows",
];

/// What needs as many as `make sim` runs.
const RAREST: [&str; 5] = [
    "denied request_reused",
    "hand-over refused",
    "reclaim refused: no such allotment: it has thawed",
    "reclaim refused: the allotment holds fewer units",
    "renewal failed: the checkout was moving between nodes",
];

/// What may happen or not; of [`EXCUSES`] besides, how a renewal failed and a call was lost.
const POSSIBLE: [&str; 3] = [
    "call lost",
    "call lost: the engine renewed late",
    "late grant of a request that is asked for again",
];

/// What may stand in the way of a renewal.
const EXCUSES: [&str; 24] = [
    "a message between nodes was lost",
    "a node applied the log late",
    "its message was late",
    "its message was lost",
    "its node lived, could not be reached, and no unit was free",
    "its units had moved with an older receipt, and no unit was free",
    "its wall clock was set",
    "messages of before the healing were still on their way",
    "no leader had a majority",
    "the checkout was moving between nodes",
    "the engine showed a forged receipt",
    "the engine was cut off from the node",
    "the lease of its node had just ended",
    "the lease of its node might still run",
    "the log stood still",
    "the network was slower than a claim allows",
    "the node had not heard of the leader",
    "the node was cut off from the leader",
    "the node was down",
    "the node was fenced, or not admitted yet",
    "the node was paused",
    "the node was removed or replaced",
    "two processes ran under one node id",
    "units became free while it was asked",
];

/// All of them.
pub(crate) fn kinds() -> impl Iterator<Item = String> {
    let named = MUST.into_iter().flat_map(|(_, kinds)| kinds).chain(&POSSIBLE);
    let named = named.map(|kind| (*kind).to_owned());
    let excused = |outcome: &'static str| EXCUSES.map(|excuse| format!("{outcome}: {excuse}"));
    named.chain(excused("renewal failed")).chain(excused("call lost"))
}

/// What should have occurred in so many seeds, and did not.
#[must_use]
pub fn missing(summary: &Summary) -> Vec<&'static str> {
    let expected = MUST.into_iter().filter(|(seeds, _)| *seeds <= summary.seeds);
    let kinds = expected.flat_map(|(_, kinds)| kinds).copied();
    kinds.filter(|kind| summary.tally.get(kind) == 0).collect()
}

/// What occurred and is not known here: if it never did, nobody would miss it.
#[must_use]
pub fn unknown(summary: &Summary) -> Vec<String> {
    let counted = summary.tally.iter().map(|(what, _)| what);
    let unknown = counted.filter(|what| kinds().all(|kind| kind != *what));
    unknown.map(str::to_owned).collect()
}
