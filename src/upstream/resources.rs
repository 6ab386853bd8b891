//! The live state beside a plan: the state of each upstream, its token, and the limiters.
//!
//! A plan holds only policies. Its resources are prepared from those policies before the plan runs. A call finds them
//! by their slot, without a lock or a hash. A resource survives a reload if its policy is unchanged; otherwise it is
//! created again.

use std::collections::HashMap;
use std::sync::Arc;

use super::auth::{TokenCell, TokenRequest};
use super::delivery::Delivery;
use super::delivery::limit::{LimitPolicy, Limiter};
use super::delivery::state::{StatePolicy, UpstreamResources, UpstreamState};

/// The resources of one plan.
#[derive(Debug, Default)]
pub struct Resources {
    /// By the slot of their delivery.
    upstreams: Vec<PreparedUpstream>,
    /// By their slot.
    limits: Vec<PreparedLimit>,
}

/// A limit that belongs to no upstream.
#[derive(Debug, Clone, Copy)]
pub struct LimitSpec<'a> {
    /// The kind of its owner. Kind and name identify the limit across reloads.
    pub kind: &'a str,
    /// The name of its owner.
    pub name: &'a str,
    /// The policy.
    pub policy: &'a LimitPolicy,
}

/// The resources of one upstream, and the policies that they were made from.
#[derive(Debug)]
struct PreparedUpstream {
    name: String,
    policy: StatePolicy,
    token_request: Option<TokenRequest>,
    live: UpstreamResources,
}

#[derive(Debug)]
struct PreparedLimit {
    kind: String,
    name: String,
    policy: LimitPolicy,
    limiter: Arc<Limiter>,
}

impl Resources {
    /// The resources for these deliveries and limits, both in the order of their slots. A resource in `before` is
    /// reused if its policy is equal.
    pub fn prepare(deliveries: &[Delivery], limits: &[LimitSpec<'_>], before: &Self) -> Self {
        debug_assert!(deliveries.iter().enumerate().all(|(slot, delivery)| delivery.slot == slot));
        let known: HashMap<&str, &PreparedUpstream> =
            before.upstreams.iter().map(|known| (known.name.as_str(), known)).collect();
        let known_limits: HashMap<(&str, &str), &PreparedLimit> =
            before.limits.iter().map(|known| ((known.kind.as_str(), known.name.as_str()), known)).collect();
        Self {
            upstreams: deliveries
                .iter()
                .map(|delivery| {
                    PreparedUpstream::new(delivery, known.get(delivery.target.name.as_str()).copied())
                })
                .collect(),
            limits: limits
                .iter()
                .map(|spec| PreparedLimit::new(*spec, known_limits.get(&(spec.kind, spec.name)).copied()))
                .collect(),
        }
    }

    /// Resources without retries, hedging, circuit breakers and limits. For the tests of a table, which must not depend
    /// on each other.
    pub fn without_resilience(deliveries: &[Delivery]) -> Self {
        let upstreams = deliveries.iter().map(|delivery| {
            let live = UpstreamResources {
                state: Arc::new(UpstreamState::without_resilience()),
                ..UpstreamResources::default()
            };
            PreparedUpstream { live, ..PreparedUpstream::new(delivery, None) }
        });
        Self { upstreams: upstreams.collect(), limits: Vec::new() }
    }

    /// The resources of the upstream of `delivery`.
    ///
    /// # Panics
    /// `delivery` belongs to another plan.
    pub fn upstream(&self, delivery: &Delivery) -> &UpstreamResources {
        let found = &self.upstreams[delivery.slot];
        debug_assert_eq!(found.name, delivery.target.name, "resources of another plan");
        &found.live
    }

    /// The limiter in a slot; `None` if the slot has no limit.
    pub fn limiter(&self, slot: usize) -> Option<&Limiter> {
        self.limits.get(slot).map(|prepared| &*prepared.limiter)
    }
}

impl PreparedUpstream {
    fn new(delivery: &Delivery, before: Option<&Self>) -> Self {
        let policy = delivery.policy.clone();
        let token_request = delivery.auth.as_ref().and_then(|auth| auth.token_request()).cloned();
        let state = before.map(|before| (&before.policy, &before.live.state));
        let token = before.map(|before| (&before.token_request, &before.live.token));
        let live = UpstreamResources {
            state: keep(state, &policy, || UpstreamState::new(policy.breaker.clone(), policy.limit.clone())),
            token: keep(token, &token_request, TokenCell::default),
        };
        Self { name: delivery.target.name.clone(), policy, token_request, live }
    }
}

impl PreparedLimit {
    fn new(spec: LimitSpec<'_>, before: Option<&Self>) -> Self {
        let before = before.map(|before| (&before.policy, &before.limiter));
        let limiter = keep(before, spec.policy, || Limiter::new(spec.policy.clone()));
        let (kind, name) = (spec.kind.to_owned(), spec.name.to_owned());
        Self { kind, name, policy: spec.policy.clone(), limiter }
    }
}

/// The existing resource if its policy equals `policy`, otherwise a new one.
fn keep<P: PartialEq, T>(before: Option<(&P, &Arc<T>)>, policy: &P, new: impl FnOnce() -> T) -> Arc<T> {
    match before {
        Some((known, resource)) if known == policy => Arc::clone(resource),
        _ => Arc::new(new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::delivery::breaker::BreakerPolicy;
    use crate::upstream::tls::Tls;
    use crate::upstream::{EgressPolicy, Redirects, Target};
    use std::time::Duration;

    fn delivery(name: &str, slot: usize, breaker: Option<BreakerPolicy>) -> Delivery {
        let (redirects, tls, network) = (Redirects::None, Tls::default(), EgressPolicy::Any);
        let target = Target {
            name: name.to_owned(),
            timeout: None,
            root: String::new(),
            max_body: 100,
            redirects,
            tls,
            network,
            proxy: None,
        };
        let plain = Delivery::plain(target);
        Delivery { slot, policy: StatePolicy { breaker, ..StatePolicy::default() }, ..plain }
    }

    fn limit(concurrency: u32) -> LimitPolicy {
        LimitPolicy { concurrency: Some(concurrency), rate: None, wait: Duration::ZERO }
    }

    #[test]
    fn a_resource_is_reused_if_its_policy_is_equal() {
        let breaker = || Some(BreakerPolicy::default());
        let other = Some(BreakerPolicy { probes: 7, ..BreakerPolicy::default() });
        let first = [delivery("a", 0, breaker()), delivery("b", 1, breaker())];
        let second = [delivery("0", 0, None), delivery("a", 1, breaker()), delivery("b", 2, other)];
        let before = Resources::prepare(&first, &[], &Resources::default());
        let after = Resources::prepare(&second, &[], &before);

        let state = |resources: &Resources, delivery| Arc::clone(&resources.upstream(delivery).state);
        let token = |resources: &Resources, delivery| Arc::clone(&resources.upstream(delivery).token);
        assert!(Arc::ptr_eq(&state(&before, &first[0]), &state(&after, &second[1])));
        assert!(!Arc::ptr_eq(&state(&before, &first[1]), &state(&after, &second[2])));
        // A new breaker policy does not affect the token.
        assert!(Arc::ptr_eq(&token(&before, &first[1]), &token(&after, &second[2])));
    }

    #[test]
    fn a_limit_is_reused_if_kind_name_and_policy_are_equal() {
        let (one, two) = (limit(1), limit(2));
        let spec = |kind, name, policy| LimitSpec { kind, name, policy };
        let before = Resources::prepare(
            &[],
            &[spec("routes", "a", &one), spec("routes", "b", &one)],
            &Resources::default(),
        );
        let specs = [spec("vapi", "a", &one), spec("routes", "b", &two), spec("routes", "a", &one)];
        let after = Resources::prepare(&[], &specs, &before);
        let is_reused = |slot| {
            let after = after.limiter(slot).unwrap();
            (0..2).any(|slot| std::ptr::eq(before.limiter(slot).unwrap(), after))
        };
        assert_eq!([0, 1, 2].map(is_reused), [false, false, true]);
        assert!(after.limiter(3).is_none());
    }
}
