//! Tests of the store: the same suite for each engine, and what can go wrong with each.

mod calls;
mod child;
mod jobs;
mod memories;
mod operators;
mod postgres;
mod server;
mod sqlite;
mod world;

/// Runs each of these tests with each engine.
macro_rules! with_each_engine {
    ($($name:ident),* $(,)?) => {
        mod in_memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&crate::world::World::in_memory()).await;
            })*
        }

        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&crate::world::World::sqlite()).await;
            })*
        }

        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&crate::world::World::postgres().await).await;
            })*
        }
    };
}

use with_each_engine;
