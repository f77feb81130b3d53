//! What is sold: the founding of a cluster, and entitlements that grow, shrink and vanish.
//!
//! | set | kind | home | features |
//! |---|---|---|---|
//! | `floating` | production | – | `asr.tier1`, `tts.chris` |
//! | `second`, whose contract may end | production | – | `asr.tier1` |
//! | `eastern` | production | `east` | `asr.tier1`, `cpa` |
//! | `backup` | backup, standing by | – | `tts.anna` |
//! | `ended` | production, contract over | – | `asr.tier4` |

use leasehold_core::entitlement::{
    Date, Entitlement, FORMAT, FeatureLine, LicenseSet, SetKind, SigningKey,
};
use leasehold_core::id::{ClusterId, FeatureId, NodeId, NodeName, SiteName};
use leasehold_core::ledger::command::{Command, Founding};
use leasehold_core::receipt::ReceiptKey;

use crate::dice::Dice;
use crate::plan::Plan;
use crate::world::Machine;

#[derive(Debug)]
pub(crate) struct Market {
    key: SigningKey,
    serial: u64,
    units_most: u64,
    /// The contract of one set ends with the day on which the run begins.
    is_last_day: bool,
}

const CLUSTER: ClusterId = ClusterId([0x5a; 16]);
const SECRET: [u8; 32] = [9; 32];
const SITES: [&str; 2] = ["east", "west"];

impl Market {
    pub(crate) fn new(plan: &Plan) -> Self {
        let key = SigningKey::from_bytes(&[7; 32]);
        let is_last_day = plan.midnight_at.is_some();
        Self { key, serial: 0, units_most: plan.units_most, is_last_day }
    }

    pub(crate) fn site(&self, index: usize) -> SiteName {
        parsed(SITES[index % SITES.len()])
    }

    /// What engines ask for, by how often.
    pub(crate) fn features(&self) -> Vec<FeatureId> {
        let names = ["asr.tier1", "asr.tier1", "asr.tier1", "tts.chris", "tts.chris", "cpa"];
        names.into_iter().map(parsed).collect()
    }

    /// What they ask for in vain.
    pub(crate) fn vain_features(&self) -> Vec<FeatureId> {
        ["tts.anna", "asr.tier4", "video"].into_iter().map(parsed).collect()
    }

    /// A build that no maintenance covers.
    pub(crate) fn late_build(&self) -> Date {
        parsed("2029-01-01")
    }

    pub(crate) fn receipt_key(&self) -> ReceiptKey {
        ReceiptKey::new(CLUSTER, &SECRET)
    }

    pub(crate) fn founding(
        &mut self,
        plan: &Plan,
        machines: &[Machine],
        dice: &mut Dice,
    ) -> Vec<Command> {
        let founding = Founding {
            cluster: CLUSTER,
            timings: plan.timings,
            receipt_key: SECRET,
            trusted_keys: vec![self.key.verifying_key().to_bytes()],
        };
        let mut commands = vec![Command::Found(founding)];
        commands.extend(machines.iter().map(|machine| Command::Admit {
            node: machine.node,
            site: machine.site.clone(),
            name: name_of(machine.node),
        }));
        // Some clusters start without an entitlement.
        if dice.chance(900) {
            commands.push(self.entitle(dice));
        }
        commands
    }

    pub(crate) fn entitle(&mut self, dice: &mut Dice) -> Command {
        self.serial += 1;
        let mut sets = vec![
            self.set("floating", None, &["asr.tier1", "tts.chris"], dice),
            self.set("second", None, &["asr.tier1"], dice),
            self.set("eastern", Some("east"), &["asr.tier1", "cpa"], dice),
        ];
        if self.is_last_day {
            sets[1].contract_end = parsed("2026-11-25");
            sets[1].maintenance_until = parsed("2026-11-25");
        }
        // A set may vanish for a while.
        if self.serial > 1 && dice.chance(200) {
            sets.remove(dice.index(3));
        }
        let backup = self.set("backup", None, &["tts.anna"], dice);
        let covers = vec![parsed("east")];
        sets.push(LicenseSet { kind: SetKind::Backup, covers, ..backup });
        let ended = self.set("ended", None, &["asr.tier4"], dice);
        let maintenance_until = parsed("2026-06-30");
        sets.push(LicenseSet { contract_end: parsed("2026-06-30"), maintenance_until, ..ended });
        let entitlement = Entitlement {
            format: FORMAT,
            cluster: CLUSTER,
            serial: self.serial,
            issued: parsed("2026-11-25"),
            customer: "Simulated Bank".to_owned(),
            contact_days: 60,
            sets,
        };
        Command::InstallEntitlement { envelope: entitlement.seal(&self.key) }
    }

    fn set(
        &self,
        name: &str,
        home: Option<&str>,
        features: &[&str],
        dice: &mut Dice,
    ) -> LicenseSet {
        let line = |feature: &&str| FeatureLine {
            feature: parsed(feature),
            units: dice.between(1, self.units_most),
        };
        LicenseSet {
            name: parsed(name),
            kind: SetKind::Production,
            home: home.map(parsed),
            covers: Vec::new(),
            starts: parsed("2026-01-01"),
            contract_end: parsed("2028-12-31"),
            maintenance_until: parsed("2027-06-30"),
            autonomy_s: None,
            features: features.iter().map(line).collect(),
        }
    }
}

/// Text of this file, which is right.
fn parsed<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a constant of the simulator is well-formed")
}

pub(crate) fn name_of(node: NodeId) -> NodeName {
    format!("node-{node}").parse().expect("a name of plain letters")
}
