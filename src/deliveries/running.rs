//! The jobs that this instance runs, and until when it holds each.

use std::collections::HashMap;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::sleep_until;

use crate::state::{Job, JobId, JobLease, JobOutcome};

/// The jobs that this instance runs. There is at most one attempt for each.
#[derive(Debug, Default)]
pub(super) struct RunningJobs(Mutex<HashMap<JobId, RunningJob>>);

#[derive(Debug)]
struct RunningJob {
    lease: JobLease,
    /// When the attempt must have stopped, unless the lease is renewed.
    until: watch::Sender<Instant>,
    /// The job as it was leased again, because its lease ended or its outcome is stored already.
    again: Option<Job>,
    /// The outcome of the attempt, once it has ended.
    outcome: Option<JobOutcome>,
}

/// Until when an attempt may run.
#[derive(Debug)]
pub(super) struct Term(watch::Receiver<Instant>);

impl Term {
    /// Waits until the attempt must have stopped.
    pub(super) async fn ended(mut self) {
        loop {
            let until = *self.0.borrow_and_update();
            tokio::select! {
                () = sleep_until(until.into()) => return,
                changed = self.0.changed() => if changed.is_err() { return },
            }
        }
    }
}

impl RunningJobs {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Adds a job, and returns what its attempt needs. `None` if this instance runs the job already: the attempt
    /// continues under the new lease, so that nothing is sent twice.
    pub(super) fn add(&self, job: Job, until: Instant) -> Option<(Job, Term)> {
        let mut jobs = self.0.lock();
        if let Some(running) = jobs.get_mut(&job.lease.id) {
            running.until.send_replace(until);
            running.again = Some(job);
            return None;
        }
        let (sender, receiver) = watch::channel(until);
        let lease = job.lease.clone();
        jobs.insert(lease.id, RunningJob { lease, until: sender, again: None, outcome: None });
        Some((job, Term(receiver)))
    }

    /// The leases to renew.
    pub(super) fn leases(&self) -> Vec<JobLease> {
        self.0.lock().values().map(|running| running.latest().clone()).collect()
    }

    /// Notes which of `leases` are lost; the others last until `until`.
    pub(super) fn note_renewed(&self, leases: &[JobLease], lost: &[JobId], until: Instant) {
        let jobs = self.0.lock();
        for lease in leases {
            if let Some(running) = jobs.get(&lease.id).filter(|running| running.latest() == lease) {
                let is_lost = lost.contains(&lease.id);
                running.until.send_replace(if is_lost { Instant::now() } else { until });
            }
        }
    }

    /// Notes that an attempt has ended. Returns whether the job is still here: otherwise it was handed back.
    pub(super) fn note_outcome(&self, id: JobId, outcome: &JobOutcome) -> bool {
        let mut jobs = self.0.lock();
        jobs.get_mut(&id).map(|running| running.outcome = Some(outcome.clone())).is_some()
    }

    /// The lease to store the outcome with, if the job was leased again after the lease of its attempt had ended.
    pub(super) fn take_newer_lease(&self, id: JobId) -> Option<JobLease> {
        let mut jobs = self.0.lock();
        let running = jobs.get_mut(&id)?;
        running.lease = running.again.take()?.lease;
        Some(running.lease.clone())
    }

    /// Removes a job. If it is still leased, which happens if it was due again at once, it is returned for the next
    /// attempt.
    pub(super) fn remove(&self, id: JobId) -> Option<(Job, Instant)> {
        let RunningJob { until, again, .. } = self.0.lock().remove(&id)?;
        let until = *until.borrow();
        Some((again?, until))
    }

    /// Whether a job is here.
    pub(super) fn contains(&self, id: JobId) -> bool {
        self.0.lock().contains_key(&id)
    }

    /// Removes all jobs, which ends the attempts that are running. Those that have ended have an outcome.
    pub(super) fn take_all(&self) -> Vec<(JobLease, Option<JobOutcome>)> {
        let jobs = std::mem::take(&mut *self.0.lock());
        jobs.into_values().map(|running| (running.latest().clone(), running.outcome)).collect()
    }
}

impl RunningJob {
    fn latest(&self) -> &JobLease {
        self.again.as_ref().map_or(&self.lease, |job| &job.lease)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::{Pin, pin};
    use std::task::Poll;
    use std::time::Duration;

    use super::*;
    use crate::state::{EncryptionKeys, NewJob, Payload, Store, Work, WorkKind};

    /// A store with one job, whose leases end at once.
    async fn store() -> Store {
        let store = Store::in_memory(EncryptionKeys::default(), Duration::ZERO);
        let job = NewJob {
            work: Work { kind: WorkKind::Route, name: "note".to_owned() },
            platform: "http".to_owned(),
            conversation: None,
            revision: String::new(),
            ordered: false,
            retry_for: Duration::from_secs(60),
            seed: [0; 32],
            payload: Payload { bytes: Vec::new(), is_sensitive: false },
        };
        store.append_job(job).await.unwrap();
        store
    }

    async fn leased(store: &Store) -> Job {
        store.lease_jobs(1).await.unwrap().remove(0)
    }

    async fn is_pending(mut future: Pin<&mut impl Future<Output = ()>>) -> bool {
        poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    #[tokio::test]
    async fn a_job_that_is_leased_again_keeps_its_attempt_and_stores_the_outcome_under_the_new_lease() {
        let (store, running) = (store().await, RunningJobs::default());
        let (first, _term) = running.add(leased(&store).await, later()).unwrap();
        let id = first.lease.id;
        let second = leased(&store).await;
        assert_ne!(second.lease, first.lease);
        assert!(running.add(second.clone(), later()).is_none(), "a second attempt");
        assert_eq!((running.len(), running.leases()), (1, vec![second.lease.clone()]));
        assert!(running.note_outcome(id, &JobOutcome::Delivered));
        assert_eq!(running.take_newer_lease(id), Some(second.lease));
        assert_eq!(running.take_newer_lease(id), None);
        assert!(running.remove(id).is_none() && !running.contains(id));
    }

    #[tokio::test]
    async fn a_job_that_is_due_again_before_its_attempt_is_removed_gets_another_attempt() {
        let (store, running) = (store().await, RunningJobs::default());
        let (first, _term) = running.add(leased(&store).await, later()).unwrap();
        let second = leased(&store).await;
        running.add(second.clone(), later());
        let (next, until) = running.remove(first.lease.id).unwrap();
        assert_eq!(next.lease, second.lease);
        assert!(running.add(next, until).is_some());
    }

    #[tokio::test]
    async fn an_attempt_ends_with_its_lease_and_not_with_an_earlier_one() {
        let (store, running) = (store().await, RunningJobs::default());
        let (first, term) = running.add(leased(&store).await, later()).unwrap();
        let (id, earlier) = (first.lease.id, [first.lease]);
        running.add(leased(&store).await, later());
        let mut ended = pin!(term.ended());
        running.note_renewed(&earlier, &[id], later());
        assert!(is_pending(ended.as_mut()).await);
        running.note_renewed(&running.leases(), &[], later());
        assert!(is_pending(ended.as_mut()).await);
        running.note_renewed(&running.leases(), &[id], later());
        ended.await;
    }

    #[tokio::test]
    async fn a_job_is_handed_back_with_the_outcome_that_is_known() {
        let (store, running) = (store().await, RunningJobs::default());
        let (job, term) = running.add(leased(&store).await, later()).unwrap();
        running.note_outcome(job.lease.id, &JobOutcome::Delivered);
        assert_eq!(running.take_all(), [(job.lease.clone(), Some(JobOutcome::Delivered))]);
        term.ended().await;
        assert!(!running.note_outcome(job.lease.id, &JobOutcome::Delivered));
    }
}
