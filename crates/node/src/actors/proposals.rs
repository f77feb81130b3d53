//! Groups commands into log entries: while as many commits are in flight as may be, the next entry
//! gathers. Entries are proposed in the order in which they were asked for.

use std::future::Future;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use leasehold_actor::{AskError, BoxError, CancellationToken, Inbox, Mailbox, Reply, mailbox};
use leasehold_consensus::{Consensus, ProposeError, Uncertain};
use leasehold_core::ledger::command::{Command, Outcome};

/// Proposals that wait for a commit: every node has a few under way at most.
const MAILBOX_CAPACITY: usize = 1_024;
/// A commit takes a round trip between sites, and beats make one each second for each node: an
/// operation that had to wait for it would take a round trip more.
const COMMITS_IN_FLIGHT_MAX: usize = 4;
/// Commands of one entry: far below the size that one message between nodes may have.
const COMMANDS_PER_ENTRY_MAX: usize = 256;
/// A commit takes a round trip and two syncs; past this nobody waits for it any more.
const COMMIT_DEADLINE: Duration = Duration::from_secs(3);
/// A commit before, and this one.
const DEADLINE: Duration = Duration::from_secs(6);

#[derive(Debug)]
struct ProposalRequest {
    commands: Vec<Command>,
    reply: Reply<Result<Vec<Outcome>, ProposeError>>,
}

#[derive(Clone, Debug)]
pub struct ProposalsHandle {
    mailbox: Mailbox<ProposalRequest>,
}

impl ProposalsHandle {
    /// Commits the commands in one entry and returns their outcomes.
    ///
    /// # Errors
    /// Not the leader, stopped, or overloaded. An `Unavailable` may have been committed.
    pub async fn propose(&self, commands: Vec<Command>) -> Result<Vec<Outcome>, ProposeError> {
        let asked = self.mailbox.ask(DEADLINE, |reply| ProposalRequest { commands, reply }).await;
        asked.unwrap_or_else(|error| Err(of_ask(&error)))
    }
}

pub struct ProposalsTask {
    inbox: Inbox<ProposalRequest>,
    consensus: Consensus,
}

/// Makes the actor.
#[must_use]
pub fn proposals(consensus: Consensus) -> (ProposalsHandle, ProposalsTask) {
    let (mailbox, inbox) = mailbox("proposals", MAILBOX_CAPACITY);
    (ProposalsHandle { mailbox }, ProposalsTask { inbox, consensus })
}

impl ProposalsTask {
    /// # Errors
    /// None: a failed consensus ends the process by itself.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), BoxError> {
        let mut commits = FuturesUnordered::new();
        let mut is_asked = true;
        loop {
            let may_propose = is_asked && commits.len() < COMMITS_IN_FLIGHT_MAX;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(()) = commits.next() => {}
                first = self.inbox.next(), if may_propose => match first {
                    Some(first) => commits.push(self.commit(first)),
                    // Everybody who could ask has stopped; this actor's turn comes.
                    None => is_asked = false,
                },
            }
        }
        while commits.next().await.is_some() {}
        Ok(())
    }

    /// Takes along what else waits.
    fn commit(&mut self, first: ProposalRequest) -> impl Future<Output = ()> + Send + use<> {
        let mut commands = first.commands;
        let mut waiting = vec![(commands.len(), first.reply)];
        while commands.len() < COMMANDS_PER_ENTRY_MAX {
            let Some(next) = self.inbox.try_next() else { break };
            waiting.push((next.commands.len(), next.reply));
            commands.extend(next.commands);
        }
        let consensus = self.consensus.clone();
        async move {
            match consensus.propose(commands, COMMIT_DEADLINE).await {
                Ok(mut outcomes) => {
                    for (count, reply) in waiting {
                        let rest = outcomes.split_off(count.min(outcomes.len()));
                        reply.send(Ok(std::mem::replace(&mut outcomes, rest)));
                    }
                }
                Err(error) => {
                    for (_, reply) in waiting {
                        reply.send(Err(error.clone()));
                    }
                }
            }
        }
    }
}

fn of_ask(error: &AskError) -> ProposeError {
    match error {
        AskError::Stopped { .. } => ProposeError::Stopped,
        AskError::Overloaded { .. } | AskError::TimedOut { .. } => {
            ProposeError::Unavailable { reason: Uncertain::Deadline(DEADLINE) }
        }
    }
}
