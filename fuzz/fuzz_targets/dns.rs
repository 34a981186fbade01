//! Queries to a container's resolver, as datagrams and as a stream. With the internet off nothing
//! may be answered but allowed names and the names of the container itself.
#![no_main]

use std::sync::LazyLock;

use berth_net::fuzzing::Resolver;
use hickory_proto::op::{Message, ResponseCode};
use libfuzzer_sys::fuzz_target;

static OFFLINE: LazyLock<Resolver> = LazyLock::new(|| Resolver::new(false, "*.allowed.example"));
static ONLINE: LazyLock<Resolver> = LazyLock::new(|| Resolver::new(true, "*.allowed.example"));

fn may_have_addresses(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    name == "localhost" || name.ends_with(".localhost") || name.ends_with(".allowed.example")
}

fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        if let Some(answer) = OFFLINE.answer(bytes).await {
            assert_eq!(answer[..2], bytes[..2], "the answer has another id");
            let answer = Message::from_vec(&answer).expect("our own answers can be read");
            let name = answer.queries().first().map(|query| query.name().to_ascii());
            if !answer.answers().is_empty() {
                assert!(may_have_addresses(&name.expect("answers without a question")));
            } else if let Some(name) = name {
                assert!(
                    may_have_addresses(&name) || answer.response_code() == ResponseCode::NXDomain,
                    "{name}"
                );
            }
        }
        if let Some(answer) = ONLINE.answer(bytes).await {
            Message::from_vec(&answer).expect("our own answers can be read");
        }
        OFFLINE.answer_stream(bytes).await;
    });
});
