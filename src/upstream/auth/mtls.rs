//! `auth.mtls = { cert, key, ca }`: a client certificate, presented during the TLS handshake.
//!
//! It belongs to the connection, so it adds nothing to a request. Upstreams with different certificates never share a
//! connection.

use http::HeaderValue;

use super::{CredentialError, OutboundAuth, Scheme, SchemeFault, SchemeKey, SchemeValues};
use crate::upstream::tls::{Authorities, Identity, PemFault, PemPart};
use crate::upstream::{Request, Target};

pub(super) static SCHEME: Scheme<dyn OutboundAuth> = Scheme {
    name: "mtls",
    about: "A client certificate.",
    keys: &[SchemeKey::file("cert"), SchemeKey::file("key"), SchemeKey::file("ca").optional()],
    build,
};

fn build(values: &SchemeValues) -> Result<Box<dyn OutboundAuth>, SchemeFault> {
    let identity = Identity::parse(values.text("cert"), values.text("key")).map_err(|fault| {
        let key = match fault.part {
            PemPart::Certificate => "cert",
            PemPart::Key => "key",
        };
        in_file(key, fault)
    })?;
    let authorities = values.get("ca").map(Authorities::parse).transpose();
    let authorities = authorities.map_err(|fault| in_file("ca", fault))?;
    Ok(Box::new(Mtls { identity, authorities }))
}

fn in_file(key: &'static str, fault: PemFault) -> SchemeFault {
    SchemeFault::new(key, fault.message, fault.help).code(fault.code)
}

#[derive(Debug)]
struct Mtls {
    identity: Identity,
    authorities: Option<Authorities>,
}

impl OutboundAuth for Mtls {
    fn apply(&self, _: &mut Request, _: Option<HeaderValue>) -> Result<(), CredentialError> {
        Ok(())
    }

    fn equip(&self, target: &mut Target) {
        target.tls.identity = Some(self.identity.clone());
        target.tls.authorities.extend(self.authorities.clone());
    }
}
