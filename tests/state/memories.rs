//! The memory of conversations.

use std::time::Duration;

use jackfield::state::{
    Changes, Conversation, EncryptionKeys, MAX_MEMORY_BYTES, MAX_NAMES, Remembered, StateFault, Store,
};

use crate::with_each_engine;
use crate::world::{HOUR, World, conversation, open_payload, sensitive};

with_each_engine!(
    a_value_is_recalled_by_another_instance,
    a_conversation_is_of_one_platform,
    a_name_is_replaced_and_forgotten,
    memory_expires,
    reading_prolongs,
    limits_refuse_a_change_as_a_whole,
    one_conversation_is_forgotten,
    sensitive_values_come_back_and_need_a_key,
    calls_of_one_conversation_do_not_overwrite_each_other,
);

fn remember(name: &str, value: &str) -> (String, Option<Remembered<jackfield::state::Payload>>) {
    (name.to_owned(), Some(Remembered::new(open_payload(value), false)))
}

async fn recalled(store: &Store, conversation: &Conversation) -> Vec<(String, String)> {
    let memory = store.recall(conversation, HOUR).await.unwrap();
    memory.into_iter().map(|(name, value)| (name, String::from_utf8(value.value).unwrap())).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn a_value_is_recalled_by_another_instance(world: &World) {
    let instances = world.instances(HOUR);
    let (one, other) = (instances.open(), instances.open());
    let here = conversation("c-1");
    assert_eq!(recalled(&other, &here).await, pairs(&[]));
    let trusted = ("order".to_owned(), Some(Remembered::new(open_payload("4711"), true)));
    one.remember(&here, vec![remember("name", "\"Zoë\""), trusted], HOUR).await.unwrap();
    assert_eq!(recalled(&other, &here).await, pairs(&[("name", "\"Zoë\""), ("order", "4711")]));
    let memory = other.recall(&here, HOUR).await.unwrap();
    let flags: Vec<_> = memory.iter().map(|(_, value)| (value.is_trusted, value.is_sensitive)).collect();
    assert_eq!(flags, [(false, false), (true, false)]);
}

async fn a_conversation_is_of_one_platform(world: &World) {
    let store = world.store();
    store.remember(&conversation("c-1"), vec![remember("a", "1")], HOUR).await.unwrap();
    for other in [
        Conversation { platform: "retell".to_owned(), ..conversation("c-1") },
        Conversation { platform: "vap".to_owned(), id: "ic-1".to_owned() },
        conversation("c-2"),
        conversation(""),
        conversation("c-1\0"),
    ] {
        assert_eq!(recalled(&store, &other).await, pairs(&[]), "{other:?}");
    }
}

async fn a_name_is_replaced_and_forgotten(world: &World) {
    let store = world.store();
    let here = conversation("c-1");
    store
        .remember(&here, vec![remember("a", "1"), remember("b", "2"), remember("c", "3")], HOUR)
        .await
        .unwrap();
    let changes = vec![remember("a", "4"), ("b".to_owned(), None), ("unknown".to_owned(), None)];
    store.remember(&here, changes, HOUR).await.unwrap();
    assert_eq!(recalled(&store, &here).await, pairs(&[("a", "4"), ("c", "3")]));
    // The last change of a name counts.
    let changes =
        vec![remember("a", "5"), ("a".to_owned(), None), ("c".to_owned(), None), remember("c", "6")];
    store.remember(&here, changes, HOUR).await.unwrap();
    assert_eq!(recalled(&store, &here).await, pairs(&[("c", "6")]));
}

async fn memory_expires(world: &World) {
    let store = world.store();
    store.remember(&conversation("gone"), vec![remember("a", "1")], Duration::ZERO).await.unwrap();
    store.remember(&conversation("here"), vec![remember("a", "1")], HOUR).await.unwrap();
    assert_eq!(recalled(&store, &conversation("gone")).await, pairs(&[]));
    // What expired does not come back with a new value.
    store.remember(&conversation("gone"), vec![remember("b", "2")], HOUR).await.unwrap();
    assert_eq!(recalled(&store, &conversation("gone")).await, pairs(&[("b", "2")]));

    store.remember(&conversation("again"), vec![remember("a", "1")], Duration::ZERO).await.unwrap();
    assert_eq!(store.purge(HOUR).await, Ok(1));
    assert_eq!(store.forget(None, "again").await, Ok(0));
    assert_eq!(recalled(&store, &conversation("here")).await, pairs(&[("a", "1")]));
}

async fn reading_prolongs(world: &World) {
    let store = world.store();
    let here = conversation("c-1");
    // It lives for a minute, until a call says that it is to live for an hour. It is then not shortened.
    store.remember(&here, vec![remember("a", "1")], Duration::from_secs(60)).await.unwrap();
    for ttl in [HOUR, Duration::ZERO, HOUR] {
        assert_eq!(store.recall(&here, ttl).await.unwrap().len(), 1, "{ttl:?}");
    }
    // Prolonging does not bring it back.
    let gone = conversation("gone");
    store.remember(&gone, vec![remember("a", "1")], Duration::ZERO).await.unwrap();
    for _ in 0..2 {
        assert_eq!(recalled(&store, &gone).await, pairs(&[]));
    }
}

async fn limits_refuse_a_change_as_a_whole(world: &World) {
    let store = world.store();
    let many = conversation("many");
    let names: Changes = (0..MAX_NAMES).map(|at| remember(&format!("name-{at}"), "1")).collect();
    store.remember(&many, names, HOUR).await.unwrap();
    let error = store.remember(&many, vec![remember("name-0", "2"), remember("more", "1")], HOUR).await;
    assert_eq!(error.unwrap_err().fault, StateFault::TooManyNames);
    assert!(recalled(&store, &many).await.contains(&("name-0".to_owned(), "1".to_owned())));
    // One for another fits.
    store.remember(&many, vec![("name-0".to_owned(), None), remember("more", "1")], HOUR).await.unwrap();
    assert_eq!(recalled(&store, &many).await.len(), MAX_NAMES);

    let large = conversation("large");
    let text = "x".repeat(MAX_MEMORY_BYTES - "name".len());
    for secret in [false, true] {
        let payload = |text: &str| if secret { sensitive(text) } else { open_payload(text) };
        let value = |text| Some(Remembered::new(payload(text), false));
        store.remember(&large, vec![("name".to_owned(), value(&text))], HOUR).await.unwrap();
        for change in [("a".to_owned(), value("")), ("name".to_owned(), value(&format!("{text}x")))] {
            let error = store.remember(&large, vec![change], HOUR).await.unwrap_err();
            assert_eq!(error.fault, StateFault::TooManyBytes);
            assert!(!error.fault.is_away());
        }
        assert_eq!(recalled(&store, &large).await, pairs(&[("name", &text)]));
    }
}

async fn one_conversation_is_forgotten(world: &World) {
    let store = world.store();
    let retell = Conversation { platform: "retell".to_owned(), ..conversation("c-1") };
    for here in [&conversation("c-1"), &retell, &conversation("c-2")] {
        store.remember(here, vec![remember("a", "1"), remember("b", "2")], HOUR).await.unwrap();
    }
    assert_eq!(store.forget(Some("vapi"), "c-1").await, Ok(2));
    assert_eq!(recalled(&store, &conversation("c-1")).await, pairs(&[]));
    assert_eq!(recalled(&store, &retell).await.len(), 2);
    assert_eq!(store.forget(None, "c-1").await, Ok(2));
    assert_eq!(store.forget(None, "c-1").await, Ok(0));
    let odd = conversation("c\0'");
    store.remember(&odd, vec![remember("a", "1")], HOUR).await.unwrap();
    assert_eq!(recalled(&store, &odd).await, pairs(&[("a", "1")]));
    assert_eq!(store.forget(Some("vapi"), "c\0'").await, Ok(1));
    assert_eq!(recalled(&store, &conversation("c-2")).await.len(), 2);
}

async fn sensitive_values_come_back_and_need_a_key(world: &World) {
    let store = world.store();
    let here = conversation("c-1");
    let card = |payload| vec![("card".to_owned(), Some(Remembered::new(payload, false)))];
    store.remember(&here, card(sensitive("4111")), HOUR).await.unwrap();
    let memory = store.recall(&here, HOUR).await.unwrap();
    assert_eq!((&*memory[0].1.value, memory[0].1.is_sensitive), (&b"4111"[..], true));

    let store = Store::in_memory(EncryptionKeys::default(), HOUR);
    let error = store.remember(&here, card(sensitive("4111")), HOUR).await.unwrap_err();
    assert_eq!(error.fault, StateFault::NoKey);
    store.remember(&here, card(open_payload("4111")), HOUR).await.unwrap();
}

async fn calls_of_one_conversation_do_not_overwrite_each_other(world: &World) {
    let instances = world.instances(HOUR);
    let stores: Vec<_> = (0..5).map(|_| instances.open()).collect();
    let writes = (0..20).map(|at| {
        let store = stores[at % stores.len()].clone();
        async move { store.remember(&conversation("c-1"), vec![remember(&format!("n{at}"), "1")], HOUR).await }
    });
    for written in futures_util::future::join_all(writes).await {
        written.unwrap();
    }
    assert_eq!(recalled(&instances.open(), &conversation("c-1")).await.len(), 20);
}
