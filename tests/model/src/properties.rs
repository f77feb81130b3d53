//! What must hold in every state, and what must occur in some.

use std::collections::BTreeMap;

use leasehold_core::id::AllotmentId;
use leasehold_core::ledger::{AllotmentState, FrozenLease};
use stateright::Property;

use crate::mutation::may_lend;
use crate::protocol::LeaseModel;
use crate::state::{Engine, POOL, Receipt, State, place_of};

pub(crate) fn all() -> Vec<Property<LeaseModel>> {
    vec![
        Property::always("never over-issued", |model: &LeaseModel, state: &State| {
            in_use(model, state).count() as u64 <= model.bounds.drawn.iter().sum()
        }),
        Property::always("every valid checkout is backed by units", are_all_backed),
        Property::always(
            "nobody lends under a lease that others may take for ended",
            |model: &LeaseModel, state: &State| {
                state.ledger().allotments().all(|(_, it)| {
                    let has_ended = it.state == AllotmentState::Frozen(FrozenLease::Ended);
                    let desk = &state.rest.desks[place_of(it.node)];
                    let lends = desk.as_ref().is_some_and(|desk| {
                        desk.epoch == it.epoch && may_lend(desk.right, model.mutation)
                    });
                    !(has_ended && lends)
                })
            },
        ),
        Property::always("no checkout takes units twice from one allotment", |_, state: &State| {
            let mut taken: BTreeMap<(AllotmentId, u8), u64> = BTreeMap::new();
            for (_, allotment) in state.ledger().allotments() {
                if let Some(it) = allotment.bound {
                    *taken.entry((it.origin, it.checkout.0[15])).or_default() +=
                        allotment.units.get();
                }
            }
            let most = 1 + u64::from(state.rest.is_covered_where_it_left);
            taken.values().all(|units| *units <= most)
        }),
        Property::always(
            "of no valid checkout the ledger says that it has ended",
            |model: &LeaseModel, state: &State| {
                in_use(model, state).all(|it| state.ledger().allotment(place(state, it)).is_some())
            },
        ),
        Property::always("conservation", |_, state: &State| state.ledger().check().is_ok()),
        Property::always("numbers only rise", |_, state: &State| !state.rest.went_back),
        Property::always("a repeated command changes nothing", |_, state: &State| {
            !state.rest.is_repeat_applied
        }),
        Property::sometimes(
            "a reclaim of a dead receipt takes the units of another",
            |model: &LeaseModel, state: &State| !has_each_its_own(model, state),
        ),
        Property::sometimes(
            "a reclaimed checkout is in use",
            |model: &LeaseModel, state: &State| {
                uses_bound(model, state, |origin| matches!(origin, AllotmentState::Frozen(_)))
            },
        ),
        Property::sometimes("all units can be drawn again", |model: &LeaseModel, state: &State| {
            let all: u64 = model.bounds.drawn.iter().sum();
            state.ledger().reserve(POOL).get() == all
        }),
    ]
}

/// Receipts of checkouts that their engines may use now.
fn in_use<'a>(model: &'a LeaseModel, state: &'a State) -> impl Iterator<Item = Receipt> + 'a {
    state.rest.engines.iter().filter_map(|engine| match engine {
        Engine::Held { receipt, age, .. } if model.is_valid(*age) => Some(*receipt),
        Engine::Idle | Engine::Asking { .. } | Engine::Held { .. } | Engine::Done => None,
    })
}

/// Where the ledger says that a checkout is now.
fn place(state: &State, receipt: Receipt) -> AllotmentId {
    let moves: BTreeMap<_, _> = state.ledger().moves().collect();
    let mut at = receipt.allotment;
    while let Some(next) = moves.get(&(at, receipt.checkout)) {
        at = **next;
    }
    at
}

/// The allotment that the units of this one were first taken from.
fn origin(state: &State, id: AllotmentId) -> AllotmentId {
    let bound = state.ledger().allotment(id).and_then(|it| it.bound);
    bound.map_or(id, |bound| bound.origin)
}

/// Checkouts in use, by where their units came from, never outnumber the units there, moved ones
/// included.
fn are_all_backed(model: &LeaseModel, state: &State) -> bool {
    let mut spare: BTreeMap<AllotmentId, i64> = BTreeMap::new();
    for (id, allotment) in state.ledger().allotments() {
        *spare.entry(origin(state, *id)).or_default() += allotment.units.get().cast_signed();
    }
    for receipt in in_use(model, state) {
        *spare.entry(origin(state, place(state, receipt))).or_default() -= 1;
    }
    spare.values().all(|units| *units >= 0)
}

fn has_each_its_own(model: &LeaseModel, state: &State) -> bool {
    let mut used: BTreeMap<AllotmentId, u64> = BTreeMap::new();
    for receipt in in_use(model, state) {
        *used.entry(place(state, receipt)).or_default() += 1;
    }
    used.iter().all(|(id, units)| {
        state.ledger().allotment(*id).is_some_and(|allotment| allotment.units.get() >= *units)
    })
}

fn uses_bound(
    model: &LeaseModel,
    state: &State,
    is_origin: impl Fn(AllotmentState) -> bool,
) -> bool {
    in_use(model, state).any(|receipt| {
        let bound = state.ledger().allotment(receipt.allotment).and_then(|it| it.bound);
        let origin = bound.and_then(|bound| state.ledger().allotment(bound.origin));
        origin.is_some_and(|origin| is_origin(origin.state))
    })
}
