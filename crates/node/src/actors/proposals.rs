//! Groups commands into one log entry per commit: while one is in flight the next gathers.

use std::time::Duration;

use leasehold_actor::{AskError, BoxError, CancellationToken, Inbox, Mailbox, Reply, mailbox};
use leasehold_consensus::{Consensus, ProposeError, Uncertain};
use leasehold_core::ledger::command::{Command, Outcome};

/// Proposals that wait for a commit: every node has a few under way at most.
const MAILBOX_CAPACITY: usize = 1_024;
/// Commands of one entry: far below the size that one message between nodes may have.
const COMMANDS_PER_ENTRY_MAX: usize = 256;
/// A commit takes a round trip and two syncs; past this nobody waits for it any more.
const COMMIT_DEADLINE: Duration = Duration::from_secs(3);
/// The commit before, and this one.
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
        loop {
            let first = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                first = self.inbox.next() => first,
            };
            let Some(first) = first else {
                // Everybody who could ask has stopped; this actor's turn comes.
                stop.cancelled().await;
                return Ok(());
            };
            self.commit(first).await;
        }
    }

    async fn commit(&mut self, first: ProposalRequest) {
        let mut commands = first.commands;
        let mut waiting = vec![(commands.len(), first.reply)];
        while commands.len() < COMMANDS_PER_ENTRY_MAX {
            let Some(next) = self.inbox.try_next() else { break };
            waiting.push((next.commands.len(), next.reply));
            commands.extend(next.commands);
        }
        match self.consensus.propose(commands, COMMIT_DEADLINE).await {
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

fn of_ask(error: &AskError) -> ProposeError {
    match error {
        AskError::Stopped { .. } => ProposeError::Stopped,
        AskError::Overloaded { .. } | AskError::TimedOut { .. } => {
            ProposeError::Unavailable { reason: Uncertain::Deadline(DEADLINE) }
        }
    }
}
