//! Tests from outside.

mod platforms;
