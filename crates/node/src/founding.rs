//! Founding a cluster on a node that has no data yet.

use std::sync::Arc;
use std::time::Duration;

use leasehold_consensus::{Consensus, InitializeError, Peer};
use leasehold_core::id::{ClusterId, Generation, NodeId};
use leasehold_core::ledger::command::{Command, Founding, Outcome};
use leasehold_core::time::Timings;
use leasehold_storage::{DataDirectory, OpenError};
use tokio::sync::Mutex;

use crate::actors::proposals::ProposalsHandle;
use crate::membership::founding;
use crate::random::random;

/// A single node elects itself within an election timeout.
const LEADER_DEADLINE: Duration = Duration::from_secs(15);

/// Founds a cluster, once.
#[derive(Clone)]
pub struct Founder {
    pub(crate) node: NodeId,
    pub(crate) peer: Peer,
    /// Used when the operator names none.
    pub(crate) timings: Timings,
    pub(crate) consensus: Consensus,
    pub(crate) proposals: ProposalsHandle,
    pub(crate) directory: Arc<Mutex<DataDirectory>>,
}

/// Why no cluster was founded.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    #[error("this node already belongs to cluster {cluster}")]
    AlreadyFounded { cluster: ClusterId },
    #[error("{reason}")]
    Refused { reason: String },
    #[error("the cluster could not be founded: {reason}; ask again")]
    Failed { reason: String },
}

impl Founder {
    /// Founds a cluster with this node as its only member, and returns its id.
    ///
    /// An interrupted founding is completed when it is asked for again.
    ///
    /// # Errors
    /// The node belongs to a cluster, the timings are refused, or the log can't be written.
    pub async fn found(
        &self,
        timings: Option<Timings>,
        trusted_keys: Vec<[u8; 32]>,
    ) -> Result<ClusterId, FoundError> {
        let timings = timings.unwrap_or(self.timings);
        timings.validate().map_err(|error| FoundError::Refused { reason: error.to_string() })?;
        // Held to the end: two operators found one cluster.
        let mut directory = self.directory.lock().await;
        if let Some(cluster) = self.founded() {
            return Err(FoundError::AlreadyFounded { cluster });
        }
        let drawn = (ClusterId(random().map_err(failed)?), Generation(random().map_err(failed)?));
        // An interrupted founding of its own goes on with what it had drawn.
        let begun = directory.begin_founding(drawn.0, drawn.1).map_err(|error| {
            if matches!(error, OpenError::Stands { .. }) {
                FoundError::Refused { reason: error.to_string() }
            } else {
                failed(error)
            }
        });
        let (cluster, generation) = begun?;
        self.consensus.stand(directory.standing());
        self.elect().await?;
        let founding =
            Founding { cluster, timings, receipt_key: random().map_err(failed)?, trusted_keys };
        let (site, name) = (self.peer.site.clone(), self.peer.name.parse().map_err(failed)?);
        let admit = Command::Admit { node: self.node, site, name };
        let commands = vec![Command::Found(founding), admit];
        let outcomes = self.proposals.propose(commands).await.map_err(failed)?;
        match outcomes.first() {
            Some(Outcome::Done) => {
                directory.become_member(cluster, generation).map_err(failed)?;
                self.consensus.stand(directory.standing());
                Ok(cluster)
            }
            Some(Outcome::Refused(refusal)) => {
                Err(FoundError::Refused { reason: refusal.to_string() })
            }
            Some(_) | None => Err(failed("the ledger gave no answer")),
        }
    }

    fn founded(&self) -> Option<ClusterId> {
        self.consensus.read(|replica| replica.ledger.founding().map(|founding| founding.cluster))
    }

    async fn elect(&self) -> Result<(), FoundError> {
        match self.consensus.initialize(founding(self.node, &self.peer)).await {
            // An earlier attempt got this far.
            Ok(()) | Err(InitializeError::AlreadyInitialized) => {}
            Err(error) => return Err(failed(error)),
        }
        let mut leadership = self.consensus.leadership();
        let led = leadership.wait_for(|led| led.is_leader && led.is_ready);
        match tokio::time::timeout(LEADER_DEADLINE, led).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(failed("this node was not elected in time")),
        }
    }
}

fn failed(reason: impl std::fmt::Display) -> FoundError {
    FoundError::Failed { reason: reason.to_string() }
}
