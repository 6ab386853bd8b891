//! What tests from outside share: a recording upstream and a rude one, the built binary as a running proxy, an HTTP
//! client, and the shapes of answers.

pub(crate) mod client;
pub(crate) mod folder;
pub(crate) mod proxy;
pub(crate) mod rude;
pub(crate) mod shape;
pub(crate) mod upstream;
