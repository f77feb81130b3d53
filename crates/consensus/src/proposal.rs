//! Proposing commands.

use std::time::{Duration, Instant};

use leasehold_core::ledger::command::{Command, Outcome};

use crate::codec;
use crate::consensus::Consensus;
use crate::error::{ProposeError, Uncertain};
use crate::types::Batch;

/// An entry of more bytes could not be sent to a peer, ever. Room for the largest entitlement.
const ENTRY_BYTES_MAX: usize = 3 << 20;

impl Consensus {
    /// Commits commands, in one entry, and gives what each of them did.
    ///
    /// # Errors
    /// This node does not lead, or it is not known within `deadline` whether the entry is
    /// committed: then it may still be, later.
    pub async fn propose(
        &self,
        commands: Vec<Command>,
        deadline: Duration,
    ) -> Result<Vec<Outcome>, ProposeError> {
        let counted = Counted::begin();
        let outcomes = self.propose_uncounted(Batch(commands), deadline).await;
        counted.end(&outcomes);
        outcomes
    }

    async fn propose_uncounted(
        &self,
        batch: Batch,
        deadline: Duration,
    ) -> Result<Vec<Outcome>, ProposeError> {
        let bytes = codec::encoded_bytes(&batch).unwrap_or(usize::MAX);
        if bytes > ENTRY_BYTES_MAX {
            return Err(ProposeError::TooLarge { bytes, most: ENTRY_BYTES_MAX });
        }
        let Ok(answer) = tokio::time::timeout(deadline, self.raft().client_write(batch)).await
        else {
            return Err(ProposeError::Unavailable { reason: Uncertain::Deadline(deadline) });
        };
        Ok(answer?.data)
    }
}

/// A proposal in the figures, pending until it is dropped.
struct Counted {
    began: Instant,
}

impl Counted {
    fn begin() -> Self {
        metrics::gauge!("leasehold_server_proposals_pending").increment(1.0);
        Self { began: Instant::now() }
    }

    fn end(self, outcomes: &Result<Vec<Outcome>, ProposeError>) {
        match outcomes {
            Ok(_) => metrics::histogram!("leasehold_server_proposal_duration_seconds")
                .record(self.began.elapsed()),
            Err(_) => {
                metrics::counter!("leasehold_server_proposals_failed_total").increment(1);
            }
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("leasehold_server_proposals_pending").decrement(1.0);
    }
}
