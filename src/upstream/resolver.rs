//! Resolves the names of upstreams that must be public, and gives the connector public addresses alone.
//!
//! What is judged here is what is connected to: nothing asks the DNS a second time in between.

use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::egress::{NotPublic, judge};

/// Resolves as the system does, and drops every address that is not public.
pub(super) struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The connector puts the port of the URL in the place of this one.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(Box::new(public(found)?.into_iter()) as Addrs)
        })
    }
}

/// The public ones of the addresses that a name has.
///
/// # Errors
/// There is none: why the first is not public.
fn public(found: impl Iterator<Item = SocketAddr>) -> Result<Vec<SocketAddr>, NotPublic> {
    let mut refused: Option<NotPublic> = None;
    let mut kept = Vec::new();
    for address in found {
        match judge(address.ip()) {
            Ok(()) => kept.push(address),
            Err(error) => {
                refused.get_or_insert(error);
            }
        }
    }
    match refused {
        Some(error) if kept.is_empty() => Err(error),
        _ => Ok(kept),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_of_a_name_are_kept() {
        let all = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect()
        };
        let kept = public(all(&["10.0.0.1", "1.1.1.1", "::1", "2606:4700::1111"]).into_iter());
        assert_eq!(kept.unwrap(), all(&["1.1.1.1", "2606:4700::1111"]));
        let refused = public(all(&["::ffff:10.0.0.1", "127.0.0.1"]).into_iter()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the address ::ffff:10.0.0.1 is private, and `network = \"public\"` allows public ones only"
        );
    }
}
