//! How much may happen in one run of the model. Time is not bounded.

/// Limits and first allotments of one exhaustive check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub name: &'static str,
    /// Units entitled, by the node that has drawn them when the model begins.
    pub drawn: [u64; 2],
    /// The second node never fails, and its beats always arrive: they are left out.
    pub is_second_steady: bool,
    /// Who leads when the model begins.
    pub first_leader: usize,
    pub budget: Budget,
}

/// What may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Beats that each node may send.
    pub beats: [u8; 2],
    pub grants: u8,
    pub renewals: u8,
    /// Receipts shown at another node.
    pub shows: u8,
    pub checkins: u8,
    /// Draws, and units given back.
    pub draws: u8,
    pub elections: u8,
    pub crashes: u8,
    /// Nodes cut off from all others, but not from engines.
    pub cuts: u8,
    pub fences: u8,
    /// Leases opened anew.
    pub opens: u8,
}

const NOTHING: Budget = Budget {
    beats: [0, 0],
    grants: 0,
    renewals: 0,
    shows: 0,
    checkins: 0,
    draws: 0,
    elections: 0,
    crashes: 0,
    cuts: 0,
    fences: 0,
    opens: 0,
};

/// The first node has all units, and the second never fails.
const FIRST_FAILS: Bounds =
    Bounds { name: "", drawn: [2, 0], is_second_steady: true, first_leader: 0, budget: NOTHING };

impl Bounds {
    /// Each about something else, and a minute for all.
    pub const ALL: [Bounds; 6] = [
        Bounds::SILENCE,
        Bounds::CUT,
        Bounds::DEATH,
        Bounds::FENCE,
        Bounds::CHANGE,
        Bounds::TWO_DEATHS,
    ];

    /// The same with a little less of something: seconds for all, for every run of the tests.
    pub const QUICK: [Bounds; 6] = [
        Bounds { budget: Budget { grants: 1, ..Bounds::SILENCE.budget }, ..Bounds::SILENCE },
        Bounds { budget: Budget { draws: 0, ..Bounds::CUT.budget }, ..Bounds::CUT },
        Bounds { budget: Budget { grants: 1, ..Bounds::DEATH.budget }, ..Bounds::DEATH },
        // With one unit a receipt that is shown late takes that of the next engine.
        Bounds { drawn: [1, 0], ..Bounds::FENCE },
        Bounds { budget: Budget { shows: 2, ..Bounds::CHANGE.budget }, ..Bounds::CHANGE },
        Bounds::TWO_DEATHS,
    ];

    pub(crate) const SILENCE: Bounds = Bounds {
        name: "a leading node falls silent",
        budget: Budget {
            beats: [1, 0],
            grants: 2,
            renewals: 1,
            shows: 1,
            draws: 1,
            elections: 1,
            ..NOTHING
        },
        ..FIRST_FAILS
    };
    pub(crate) const CUT: Bounds = Bounds {
        name: "a leading node is cut off from nodes, not from engines",
        budget: Budget {
            beats: [1, 0],
            grants: 1,
            renewals: 1,
            shows: 1,
            draws: 1,
            elections: 1,
            cuts: 1,
            ..NOTHING
        },
        ..FIRST_FAILS
    };
    pub(crate) const DEATH: Bounds = Bounds {
        name: "a node dies and comes back",
        first_leader: 1,
        budget: Budget { grants: 2, shows: 2, crashes: 1, opens: 1, ..NOTHING },
        ..FIRST_FAILS
    };
    pub(crate) const FENCE: Bounds = Bounds {
        name: "a node is fenced while it runs",
        first_leader: 1,
        budget: Budget {
            beats: [1, 0],
            grants: 2,
            shows: 1,
            checkins: 1,
            fences: 1,
            opens: 1,
            ..NOTHING
        },
        ..FIRST_FAILS
    };
    pub(crate) const CHANGE: Bounds = Bounds {
        name: "engines change nodes that live",
        drawn: [2, 1],
        first_leader: 1,
        budget: Budget { grants: 1, renewals: 1, shows: 3, ..NOTHING },
        ..FIRST_FAILS
    };
    pub(crate) const TWO_DEATHS: Bounds = Bounds {
        name: "both nodes may die",
        drawn: [1, 0],
        is_second_steady: false,
        budget: Budget { grants: 1, shows: 2, elections: 1, crashes: 2, opens: 1, ..NOTHING },
        ..FIRST_FAILS
    };

    /// The same with a check-in more, and a draw or a unit given back: takes long.
    #[must_use]
    pub fn larger(self) -> Self {
        let budget = Budget { checkins: 1, draws: self.budget.draws + 1, ..self.budget };
        Self { budget, ..self }
    }
}
