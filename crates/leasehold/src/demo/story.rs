//! What happens when: the looks, the kills and the returns, told on the screen as they happen.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use leasehold_proto::v1;
use serde::Serialize;
use tokio::time::MissedTickBehavior;

use super::cluster::Cluster;
use super::draws::{self, Draws};
use super::engines::Engines;
use super::look::{Look, MovedCalls, Watch, id_of, own};
use super::offer::HOME;
use super::screen::{Frame, Role, Screen, SiteRow};

/// A node that was killed and started again; times on the engines' clock.
#[derive(Clone, Debug, Serialize)]
pub struct Outage {
    pub node: String,
    /// Its site, by its place in the list.
    pub site: usize,
    pub was_leader: bool,
    pub killed_ms: u64,
    /// `u64::MAX` until it is.
    pub started_ms: u64,
    /// Calls that ran when it was killed, of all sites' engines.
    pub calls_running: usize,
    /// Of these, the calls of its own site's engines.
    pub calls_at_its_site: usize,
    /// Units in checkouts at its node when it was killed.
    pub units_in_use: u64,
    /// Units in checkouts at the other nodes then.
    pub units_in_use_elsewhere: u64,
    /// The most from then on until the next kill or the end of the calls.
    pub most_in_use_elsewhere: u64,
}

impl Outage {
    /// How long the node was away.
    pub(super) fn away_ms(&self) -> u64 {
        self.started_ms.saturating_sub(self.killed_ms)
    }
}

/// A cluster with engines on it, and what has happened so far.
pub(super) struct Story<'a> {
    pub(super) cluster: &'a mut Cluster,
    pub(super) engines: &'a Engines,
    pub(super) draws: &'a mut Draws,
    pub(super) screen: &'a mut Screen,
    pub(super) entitled: BTreeMap<String, u64>,
    watch: Watch,
    outages: Vec<Outage>,
    began: Instant,
    leader: Option<usize>,
    next_draw: Duration,
}

/// What the summary needs of it.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) outages: Vec<Outage>,
    pub(super) moved: MovedCalls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    KillFollower,
    KillLeader,
    StartAgain,
}

/// An act, at a time after the calls began.
type Line = (Duration, Act);

/// The table is redrawn, and due lines of the script are performed, this often.
const TICK: Duration = Duration::from_millis(500);
/// How long the follower stays away: past the end of its lease, 10 s, so that its units are seen to
/// move. The leader comes back before that.
const FOLLOWER_AWAY: Duration = Duration::from_secs(13);
const LEADER_AWAY: Duration = Duration::from_secs(4);

/// Kills at a third and at two thirds of the time. The first node is back before the second goes.
fn script(traffic: Duration) -> Vec<Line> {
    let third = traffic / 3;
    let follower_away = FOLLOWER_AWAY.min(third * 3 / 4);
    vec![
        (third, Act::KillFollower),
        (third + follower_away, Act::StartAgain),
        (2 * third, Act::KillLeader),
        (2 * third + LEADER_AWAY.min(third / 2), Act::StartAgain),
    ]
}

/// About how long calls and what follows them take.
pub(super) fn duration(traffic: Duration) -> Duration {
    let last_start = script(traffic).last().map_or(traffic, |(at, _)| *at);
    traffic.max(last_start + UNTIL_THAWED)
}

/// From the start of a killed node until its lease is opened anew and what the old one held is free
/// again: a checkout's lifetime, with clock error and margin.
const UNTIL_THAWED: Duration = Duration::from_secs(33);

/// Promised: within T + TTL + 2 s after the last fault has ended every unit that no engine uses can
/// be drawn again.
const FREE_AGAIN_MS: u64 = 42_000;

impl<'a> Story<'a> {
    pub(super) fn new(
        cluster: &'a mut Cluster,
        engines: &'a Engines,
        draws: &'a mut Draws,
        screen: &'a mut Screen,
        entitled: BTreeMap<String, u64>,
    ) -> Self {
        Self {
            cluster,
            engines,
            draws,
            screen,
            entitled,
            watch: Watch::default(),
            outages: Vec::new(),
            began: Instant::now(),
            leader: None,
            next_draw: draws::PAUSE / 2,
        }
    }

    /// What happened before is told already.
    pub(super) async fn begin(&mut self) {
        let look = self.watch.look(self.cluster).await;
        self.leader = look.leader();
        self.began = Instant::now();
    }

    /// Performs the script while the engines make their calls.
    pub(super) async fn tell(&mut self, traffic: Duration) -> anyhow::Result<()> {
        let mut script = script(traffic).into_iter().peekable();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while self.began.elapsed() < traffic {
            ticks.tick().await;
            let look = self.look().await?;
            let is_due = |(at, act): &Line| {
                *at <= self.began.elapsed() && (*act == Act::StartAgain || look.is_healthy())
            };
            if let Some((_, act)) = script.next_if(is_due) {
                self.perform(act, &look).await?;
            }
            self.draw_now_and_then(&look);
        }
        anyhow::ensure!(
            script.peek().is_none(),
            "the nodes were not all in service when the next was to be killed"
        );
        Ok(())
    }

    /// Goes on looking, while the engines hang up, until no unit is frozen or none should be.
    pub(super) async fn settle(&mut self) -> anyhow::Result<()> {
        self.say(
            "The engines hang up. When nothing is frozen, all units are taken out once more.",
        )?;
        let started_ms = self.outages.iter().map(|outage| outage.started_ms).max().unwrap_or(0);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while self.engines.clock.now() < started_ms + FREE_AGAIN_MS {
            ticks.tick().await;
            if self.look().await?.frozen() == Some(0) {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn told(self) -> Told {
        Told { outages: self.outages, moved: self.watch.moved() }
    }

    async fn perform(&mut self, act: Act, look: &Look) -> anyhow::Result<()> {
        match act {
            Act::KillFollower => self.kill(self.follower(look), look).await,
            Act::KillLeader => self.kill(look.leader().unwrap_or(0), look).await,
            Act::StartAgain => self.start_again(),
        }
    }

    /// A node that does not lead, of a site without a set of its own if there is one.
    fn follower(&self, look: &Look) -> usize {
        let nodes = self.cluster.nodes();
        let is_follower = |index: &usize| look.leader() != Some(*index);
        let has_no_set = |index: &usize| nodes[*index].site != HOME;
        (0..nodes.len()).filter(is_follower).max_by_key(has_no_set).unwrap_or(0)
    }

    async fn kill(&mut self, index: usize, look: &Look) -> anyhow::Result<()> {
        let (running, at_its_site) = (self.engines.running(), self.engines.running_at(index));
        let killed_ms = self.engines.clock.now();
        self.cluster.kill(index).await?;
        let survivor = (index + 1) % self.cluster.nodes().len();
        self.draws.ask(survivor, true);
        let node = self.cluster.nodes()[index].name.clone();
        let was_leader = look.leader() == Some(index);
        let what = if was_leader { "the leader" } else { "a follower" };
        self.say(&format!(
            "{node}, {what}, is killed (SIGKILL) under {running} running calls, {at_its_site} of \
             them of its own site's engines"
        ))?;
        let units_in_use_elsewhere = look.in_use_elsewhere(index);
        self.outages.push(Outage {
            node,
            site: index,
            was_leader,
            killed_ms,
            started_ms: u64::MAX,
            calls_running: running,
            calls_at_its_site: at_its_site,
            units_in_use: look.in_use_at(index),
            units_in_use_elsewhere,
            most_in_use_elsewhere: units_in_use_elsewhere,
        });
        Ok(())
    }

    fn start_again(&mut self) -> anyhow::Result<()> {
        let Some(outage) = self.outages.last_mut() else { return Ok(()) };
        outage.started_ms = self.engines.clock.now();
        let index = outage.site;
        let text = format!(
            "{} is started again; {} calls of its site's engines run, at the other sites",
            outage.node,
            self.engines.running_at(index)
        );
        self.cluster.start(index)?;
        self.say(&text)
    }

    /// A node that ended although nobody killed it fails the demo.
    async fn look(&mut self) -> anyhow::Result<Look> {
        for index in 0..self.cluster.nodes().len() {
            if self.cluster.process_id(index).is_some() {
                self.cluster.still_runs(index)?;
            }
        }
        let look = self.watch.look(self.cluster).await;
        if let Some(outage) = self.outages.last_mut() {
            let elsewhere = look.in_use_elsewhere(outage.site);
            outage.most_in_use_elsewhere = outage.most_in_use_elsewhere.max(elsewhere);
        }
        self.say_what_happened(&look)?;
        self.show(&look)?;
        Ok(look)
    }

    fn say_what_happened(&mut self, look: &Look) -> anyhow::Result<()> {
        for event in &look.events {
            self.say(&self.with_names(&event.text))?;
        }
        let leader = look.leader();
        if let Some(index) = leader.filter(|_| leader != self.leader) {
            let term = look.newest().map_or(0, |status| status.term);
            self.say(&format!("{} leads now, in term {term}", self.cluster.nodes()[index].name))?;
            self.leader = leader;
        }
        Ok(())
    }

    /// The event log numbers the nodes; on the screen they have names.
    fn with_names(&self, text: &str) -> String {
        let nodes = self.cluster.nodes().iter().enumerate();
        nodes.fold(text.to_owned(), |text, (index, node)| {
            text.replace(&format!("node {}", id_of(index)), &node.name)
        })
    }

    fn say(&mut self, text: &str) -> anyhow::Result<()> {
        self.screen.note(&format!("{:>4} s  {text}", self.began.elapsed().as_secs()))?;
        Ok(())
    }

    /// Where the leader is another node, in turn.
    fn draw_now_and_then(&mut self, look: &Look) {
        if self.began.elapsed() < self.next_draw || !look.is_healthy() {
            return;
        }
        let sites = self.cluster.nodes().len();
        let turn = usize::try_from(self.next_draw.as_secs() / draws::PAUSE.as_secs()).unwrap_or(0);
        let others = (0..sites).filter(|site| look.leader() != Some(*site)).collect::<Vec<_>>();
        self.draws.ask(others[turn % others.len()], false);
        self.next_draw += draws::PAUSE;
    }

    fn show(&mut self, look: &Look) -> anyhow::Result<()> {
        let counts = self.engines.tally.counts();
        let sites = (0..self.cluster.nodes().len()).map(|index| self.row(index, look)).collect();
        self.screen.draw(&Frame {
            elapsed: self.began.elapsed(),
            running: self.engines.running(),
            ended: counts.ended,
            denied: counts.denied.values().sum(),
            lost: counts.lost,
            sites,
            entitled: &self.entitled,
            in_use: &self.engines.record.in_use(self.engines.clock.now()),
            denied_by_feature: &counts.denied_by_feature,
            status: look.newest(),
        })?;
        Ok(())
    }

    fn row(&self, index: usize, look: &Look) -> SiteRow {
        let process = &self.cluster.nodes()[index];
        let answer = look.answers[index].as_ref();
        let itself = answer.and_then(own);
        let in_ledger = look
            .newest()
            .and_then(|status| status.nodes.iter().find(|node| node.node_id == id_of(index)));
        let lends = itself.is_some_and(|node| node.lease() == v1::LeaseState::Live);
        let role = match answer {
            _ if self.cluster.process_id(index).is_none() => Role::Down,
            None => Role::Silent,
            Some(_) if look.leader() == Some(index) => Role::Leader,
            Some(status) if status.leader.is_some() && lends => Role::Follower,
            Some(_) => Role::NotReady,
        };
        SiteRow {
            site: process.site.clone(),
            node: process.name.clone(),
            role,
            calls: self.engines.running_at(index),
            checkouts: itself.and_then(|node| node.checkouts),
            lent: in_ledger.map_or(0, |node| node.units_lent),
            in_use: itself.and_then(|node| node.units_in_use),
            frozen: in_ledger.map_or(0, |node| node.units_frozen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_node_is_back_in_time_before_the_next_is_killed() {
        for seconds in [30, 50, 75, 600] {
            let traffic = Duration::from_secs(seconds);
            let script = script(traffic);
            let times: Vec<Duration> = script.iter().map(|(at, _)| *at).collect();
            assert!(times.is_sorted() && times[3] < traffic, "{times:?}");
            assert!(times[2] - times[1] >= Duration::from_secs(2), "{times:?}");
        }
    }
}
