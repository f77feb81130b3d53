//! The engine's API: checks the form of a call, asks the desk, and writes what is left of each
//! lifetime at the moment of writing.

use std::time::Instant;

use leasehold_actor::AskError;
use leasehold_clock::Clock;
use leasehold_core::desk::message::{Answer, Denial};
use leasehold_core::time::Moment;
use leasehold_proto::v1;
use leasehold_proto::v1::licensing_server::Licensing;
use metrics::Histogram;
use tonic::{Request, Response, Status};

use super::parse::{checkin_answer, checkout_answer, checkout_item, renew_answer, require_call};
use crate::actors::desk::{DeskHandle, Renewal};
use crate::usage::Usage;

#[derive(Clone)]
pub struct LicensingService {
    desk: DeskHandle,
    clock: Clock,
    usage: Usage,
    checkout_duration: Histogram,
    renew_duration: Histogram,
    checkin_duration: Histogram,
}

impl LicensingService {
    #[must_use]
    pub fn new(desk: DeskHandle, clock: Clock, usage: Usage) -> Self {
        let duration =
            |call| metrics::histogram!("leasehold_call_duration_seconds", "call" => call);
        Self {
            desk,
            clock,
            usage,
            checkout_duration: duration("checkout"),
            renew_duration: duration("renew"),
            checkin_duration: duration("checkin"),
        }
    }

    fn now(&self) -> Moment {
        Moment(self.clock.now())
    }
}

#[tonic::async_trait]
impl Licensing for LicensingService {
    async fn checkout(
        &self,
        request: Request<v1::CheckoutRequest>,
    ) -> Result<Response<v1::CheckoutResponse>, Status> {
        let began = Instant::now();
        let call = request.into_inner();
        require_call(call.items.len(), &call.engine_instance, &call.sdk_version)?;
        let mut parsed = Vec::with_capacity(call.items.len());
        let mut items = Vec::with_capacity(call.items.len());
        for item in call.items {
            match checkout_item(item) {
                Ok(item) => {
                    self.usage.count_asked(&item);
                    items.push(item);
                    parsed.push(None);
                }
                Err(denial) => parsed.push(Some(denial)),
            }
        }
        let asked = self.desk.checkout(items).await.map_err(status_of)?;
        let now = self.now();
        let answers = merge(parsed, asked).map(|answer| {
            self.usage.count_answer(&answer);
            checkout_answer(answer, now)
        });
        let answers = answers.collect();
        self.checkout_duration.record(began.elapsed());
        Ok(Response::new(v1::CheckoutResponse { answers }))
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewResponse>, Status> {
        let began = Instant::now();
        let call = request.into_inner();
        require_call(call.items.len(), &call.engine_instance, &call.sdk_version)?;
        let overrun_ms = call.items.iter().map(|item| item.overrun_ms).fold(0, u64::saturating_add);
        self.usage.count_overrun(overrun_ms);
        let overran = call.items.iter().filter(|item| item.overrun_ms > 0);
        let reports = overran.map(|item| (item.receipt.clone(), item.overrun_ms)).collect();
        self.desk.count_overrun(reports);
        let items = call.items.into_iter();
        let items = items.map(|item| Renewal { receipt: item.receipt, age_ms: item.age_ms });
        let asked = self.desk.renew(items.collect()).await.map_err(status_of)?;
        let now = self.now();
        let answers = asked.into_iter().map(|answer| {
            self.usage.count_answer(&answer);
            renew_answer(answer, now)
        });
        let answers = answers.collect();
        self.renew_duration.record(began.elapsed());
        Ok(Response::new(v1::RenewResponse { answers }))
    }

    async fn checkin(
        &self,
        request: Request<v1::CheckinRequest>,
    ) -> Result<Response<v1::CheckinResponse>, Status> {
        let began = Instant::now();
        let call = request.into_inner();
        require_call(call.items.len(), &call.engine_instance, &call.sdk_version)?;
        let mut receipts = Vec::with_capacity(call.items.len());
        let mut deltas = Vec::with_capacity(call.items.len());
        for item in call.items {
            receipts.push(item.receipt);
            deltas.push((item.usage, item.overrun_ms));
        }
        let shown = receipts.clone();
        let answers = self.desk.checkin(receipts, false).await.map_err(status_of)?;
        let mut reports = Vec::new();
        for ((answer, (usage, overrun_ms)), receipt) in answers.iter().zip(deltas).zip(shown) {
            if *answer == Answer::Accepted {
                if overrun_ms > 0 {
                    reports.push((receipt, overrun_ms));
                }
                self.usage.count_overrun(overrun_ms);
                self.usage.count_work(&usage);
            }
        }
        self.desk.count_overrun(reports);
        let answers = answers.into_iter().map(checkin_answer).collect();
        self.checkin_duration.record(began.elapsed());
        Ok(Response::new(v1::CheckinResponse { answers }))
    }
}

/// Puts the denials of malformed items back between the desk's answers.
fn merge(parsed: Vec<Option<Denial>>, asked: Vec<Answer>) -> impl Iterator<Item = Answer> {
    let mut asked = asked.into_iter();
    parsed.into_iter().filter_map(move |denial| match denial {
        Some(denial) => Some(Answer::Denied(denial)),
        None => asked.next(),
    })
}

/// Failures of the call itself: the proto file tells engines which to retry, and where.
fn status_of(error: AskError) -> Status {
    match error {
        AskError::Overloaded { .. } => Status::resource_exhausted(error.to_string()),
        AskError::Stopped { .. } => Status::unavailable(error.to_string()),
        AskError::TimedOut { .. } => Status::deadline_exceeded(error.to_string()),
    }
}
