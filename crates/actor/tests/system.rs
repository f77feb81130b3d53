//! Supervision and shutdown, on paused time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasehold_actor::{ActorFailed, ActorState, Backoff, System};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

const DEADLINE: Duration = Duration::from_secs(8);

#[tokio::test(start_paused = true)]
async fn a_failing_actor_ends_the_system_with_its_name_and_cause() {
    let mut system = System::new();
    let core = system.stage("core");
    core.spawn("storage", |_stop| async { Err("disk full".into()) });
    let ended = system.run(std::future::pending(), DEADLINE).await;
    let Err(ActorFailed::Failed { actor: "storage", source }) = ended else {
        panic!("ended with {ended:?}");
    };
    assert_eq!(source.to_string(), "disk full");
}

#[tokio::test(start_paused = true)]
async fn a_panic_and_an_unasked_end_are_failures() {
    let mut system = System::new();
    system.stage("core").spawn("raft", |_stop| async { panic!("index {} is missing", 7) });
    let ended = system.run(std::future::pending(), DEADLINE).await;
    assert_eq!(ended.unwrap_err().to_string(), "raft panicked: index 7 is missing");

    let mut system = System::new();
    system.stage("core").spawn("raft", |_stop| async { Ok(()) });
    let ended = system.run(std::future::pending(), DEADLINE).await;
    assert_eq!(ended.unwrap_err().to_string(), "raft ended although nothing had told it to");
}

#[tokio::test(start_paused = true)]
async fn a_flush_that_fails_during_the_stop_is_a_failure() {
    let mut system = System::new();
    system.stage("core").spawn("storage", |stop| async move {
        stop.cancelled().await;
        Err("disk full".into())
    });
    let ended = system.run(std::future::ready(()), DEADLINE).await;
    assert_eq!(ended.unwrap_err().to_string(), "storage failed");
}

#[tokio::test(start_paused = true)]
async fn an_edge_actor_is_restarted_with_backoff() {
    let mut system = System::new();
    let edge = system.stage("edge");
    let starts = Arc::new(Mutex::new(Vec::new()));
    let (began, seen) = (Instant::now(), Arc::clone(&starts));
    let backoff = Backoff { least: Duration::from_secs(1), most: Duration::from_secs(60) };
    edge.spawn_restarted("courier", backoff, move |stop| {
        let mut starts = seen.lock().unwrap();
        starts.push(began.elapsed().as_secs());
        let number = starts.len();
        async move {
            match number {
                1 => panic!("no route"),
                2 => Err("still no route".into()),
                3 => Ok(()),
                _ => {
                    stop.cancelled().await;
                    Ok(())
                }
            }
        }
    });
    let mut states = system.observe();
    let signal = async move {
        let cause = wait_for(&mut states, "courier", |state| match state {
            ActorState::Resting { incarnation: 1, cause } => Some(cause.clone()),
            ActorState::Resting { .. } | ActorState::Running { .. } | ActorState::Ended => None,
        });
        assert_eq!(cause.await, "courier panicked: no route");
        wait_for(&mut states, "courier", |state| {
            (*state == ActorState::Running { incarnation: 4 }).then_some(())
        })
        .await;
    };
    system.run(signal, DEADLINE).await.unwrap();
    assert_eq!(*starts.lock().unwrap(), [0, 1, 3, 7]);
}

#[tokio::test(start_paused = true)]
async fn stages_stop_in_order_and_each_waits_for_the_one_before() {
    let mut system = System::new();
    let log = Arc::new(Mutex::new(Vec::new()));
    for (stage, actor, needs) in [("edge", "grpc", 1), ("desk", "desk", 0), ("core", "raft", 2)] {
        let log = Arc::clone(&log);
        system.stage(stage).spawn(actor, move |stop| async move {
            stop.cancelled().await;
            log.lock().unwrap().push(format!("{actor} stops"));
            tokio::time::sleep(Duration::from_secs(needs)).await;
            log.lock().unwrap().push(format!("{actor} ended"));
            Ok(())
        });
    }
    let began = Instant::now();
    system.run(std::future::ready(()), DEADLINE).await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(3));
    let expected =
        ["grpc stops", "grpc ended", "desk stops", "desk ended", "raft stops", "raft ended"];
    assert_eq!(*log.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_hangs_is_aborted_and_leaves_time_to_the_rest() {
    let mut system = System::new();
    let (dropped, aborted) = oneshot::channel::<()>();
    system.stage("edge").spawn("stuck", |_stop| async move {
        let _dropped = dropped;
        std::future::pending().await
    });
    let (sender, flushed) = oneshot::channel();
    system.stage("core").spawn("storage", |stop| async move {
        stop.cancelled().await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        sender.send(()).unwrap();
        Ok(())
    });
    let began = Instant::now();
    system.run(std::future::ready(()), DEADLINE).await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(4 + 3));
    flushed.await.unwrap();
    aborted.await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn an_actor_can_be_stopped_alone() {
    let mut system = System::new();
    let core = system.stage("core");
    let (sender, stopped) = oneshot::channel();
    let steward = core.spawn("steward", |stop| async move {
        stop.cancelled().await;
        sender.send(()).unwrap();
        Ok(())
    });
    let states = system.observe();
    let signal = async move {
        steward.stop().await;
        stopped.await.unwrap();
        assert_eq!(states.borrow().get("steward"), Some(&ActorState::Ended));
    };
    system.run(signal, DEADLINE).await.unwrap();
    // Leadership won during the stop starts nothing.
    core.spawn("late", |_stop| async { panic!("started after the stop") }).stop().await;
}

#[allow(clippy::unwrap_used, reason = "the lint's exception for tests does not see helpers")]
async fn wait_for<T>(
    states: &mut watch::Receiver<BTreeMap<&'static str, ActorState>>,
    actor: &str,
    found: impl Fn(&ActorState) -> Option<T>,
) -> T {
    let reached = states.wait_for(|states| states.get(actor).and_then(&found).is_some()).await;
    found(&reached.unwrap()[actor]).unwrap()
}
