use proptest::prelude::*;
use serde_json::json;

use super::*;

fn target() -> Instance {
    Instance {
        image: "new".to_owned(),
        vcpu: 1.0,
        memory_mib: 256,
        disk_mb: 2000,
    }
}

fn rollout(request: Value) -> Rollout {
    let request = request.as_object().unwrap();
    let mut rollout = Rollout::new(request, &Map::new(), target()).unwrap();
    (rollout.from_version, rollout.to_version) = (1, 2);
    rollout
}

fn percentages(request: Value) -> Result<Vec<u8>, String> {
    let steps = steps(request.as_object().unwrap()).map_err(|error| error.to_string())?;
    Ok(steps.iter().map(|step| step.percentage).collect())
}

fn old(objects: usize) -> Vec<Seen> {
    let one = |index| Seen {
        object: format!("object-{index}"),
        version: 1,
        since_ms: Some(0),
        listened: true,
        refused: false,
    };
    (0..objects).map(one).collect()
}

/// The objects' instances have ended and were started again.
fn again(rollout: &Rollout, seen: &mut [Seen], ended: &[String], now: u64) {
    for one in seen.iter_mut().filter(|one| ended.contains(&one.object)) {
        one.version = if rollout.has(&one.object) { 2 } else { 1 };
        one.since_ms = Some(now);
    }
}

#[test]
fn steps_are_repeated_or_listed() {
    assert_eq!(percentages(json!({})).unwrap(), [100]);
    assert_eq!(
        percentages(json!({"step_percentage": 25})).unwrap(),
        [25, 50, 75, 100]
    );
    assert_eq!(percentages(json!({"step_percentage": 100})).unwrap(), [100]);
    let listed =
        json!({"steps": [{"step_size": {"percentage": 10}}, {"step_size": {"percentage": 100}}]});
    assert_eq!(percentages(listed).unwrap(), [10, 100]);
    for (request, said) in [
        (json!({"step_percentage": 0}), "`step_percentage`"),
        (json!({"step_percentage": 10, "steps": []}), "excludes"),
        (json!({"steps": []}), "end with 100"),
        (
            json!({"steps": [{"step_size": {"percentage": 50}}]}),
            "end with 100",
        ),
        (
            json!({"steps": [{"step_size": {"percentage": 50}}, {"step_size": {"percentage": 10}}]}),
            "ascend",
        ),
        (json!({"steps": 3}), "list"),
    ] {
        let error = percentages(request).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn each_step_replaces_its_share_and_waits_for_the_new_ones() {
    let steps =
        json!({"steps": [{"step_size": {"percentage": 25}}, {"step_size": {"percentage": 100}}]});
    let mut rollout = rollout(steps);
    let mut seen = old(4);
    let first = rollout.advance(0, &seen, 0);
    assert_eq!(first.len(), 1, "a quarter");
    assert_eq!(rollout.advance(0, &seen, 5), first, "it has not ended yet");
    again(&rollout, &mut seen, &first, 10);
    assert!(rollout.advance(0, &seen, 10).is_empty(), "is it healthy?");
    let rest = rollout.advance(0, &seen, 10 + HEALTHY_MS);
    assert_eq!(rest.len(), 3);
    assert_eq!(rollout.steps[0].status, StepStatus::Completed);
    again(&rollout, &mut seen, &rest, 2_000);
    assert!(rollout.advance(0, &seen, 2_000 + HEALTHY_MS).is_empty());
    assert_eq!(rollout.status, Status::Completed);
    assert!(rollout.has("whoever comes"));
}

#[test]
fn an_application_without_instances_is_done_at_once() {
    let mut rollout = rollout(json!({"step_percentage": 50}));
    assert!(rollout.advance(0, &[], 0).is_empty());
    assert_eq!((rollout.status, rollout.share), (Status::Completed, RANKS));
}

#[test]
fn nobody_may_ask_for_them_again() {
    let mut rollout = rollout(json!({}));
    assert_eq!(rollout.advance(0, &old(2), 0).len(), 2);
    assert!(rollout.advance(0, &[], 1_000).is_empty());
    assert_eq!(rollout.status, Status::Progressing);
    rollout.advance(0, &[], 1_000 + OBSERVED_MS);
    assert_eq!(rollout.status, Status::Completed);
}

#[test]
fn the_grace_period_protects_young_instances() {
    let mut rollout = rollout(json!({}));
    let mut seen = old(2);
    seen[1].since_ms = Some(4_000);
    assert_eq!(rollout.advance(5_000, &seen, 6_000), ["object-0"]);
    assert_eq!(rollout.advance(5_000, &seen, 9_000).len(), 2);
    seen[0].since_ms = None;
    assert_eq!(
        rollout.advance(5_000, &seen, 9_000),
        ["object-1"],
        "it starts"
    );
}

#[test]
fn a_failure_takes_everything_back() {
    let mut rollout = rollout(json!({"step_percentage": 50}));
    let mut seen = old(4);
    let ended = rollout.advance(0, &seen, 0);
    again(&rollout, &mut seen, &ended, 10);
    rollout.fail("it ended with code 1");
    assert_eq!(rollout.status, Status::Reverted);
    assert_eq!(
        rollout.steps[0].reason.as_deref(),
        Some("it ended with code 1")
    );
    assert_eq!(rollout.steps[1].status, StepStatus::Pending);
    let mut back = rollout.advance(0, &seen, 20);
    back.sort();
    let mut expected = ended.clone();
    expected.sort();
    assert_eq!(back, expected, "those that run with the target");
    again(&rollout, &mut seen, &back, 30);
    assert!(rollout.advance(0, &seen, 40).is_empty());
    assert!(seen.iter().all(|one| one.version == 1));
}

#[test]
fn a_port_that_never_listens_is_a_failure_only_if_it_is_wanted() {
    for (refused, status) in [(true, Status::Reverted), (false, Status::Completed)] {
        let mut rollout = rollout(json!({}));
        let mut seen = old(1);
        let ended = rollout.advance(0, &seen, 0);
        again(&rollout, &mut seen, &ended, 0);
        (seen[0].listened, seen[0].refused) = (false, refused);
        rollout.advance(0, &seen, LISTEN_MS - 1);
        rollout.advance(0, &seen, LISTEN_MS);
        assert_eq!(rollout.status, status);
    }
}

#[test]
fn by_hand_each_step_waits_to_be_asked_for() {
    let mut rollout = rollout(json!({"kind": "full_manual", "step_percentage": 50}));
    let mut seen = old(2);
    assert!(rollout.advance(0, &seen, 0).is_empty());
    assert_eq!(rollout.status, Status::Pending);
    assert!(rollout.act(Act::Previous, &seen).is_err());
    rollout.act(Act::Next, &seen).unwrap();
    let ended = rollout.advance(0, &seen, 0);
    assert_eq!(ended.len(), 1);
    assert!(
        rollout.act(Act::Next, &seen).is_err(),
        "one after the other"
    );
    again(&rollout, &mut seen, &ended, 0);
    assert!(rollout.advance(0, &seen, HEALTHY_MS).is_empty());
    assert_eq!(rollout.status, Status::Progressing);
    assert!(
        rollout.advance(0, &seen, HEALTHY_MS + 1).is_empty(),
        "it waits"
    );
    rollout.act(Act::Previous, &seen).unwrap();
    assert_eq!(
        rollout.advance(0, &seen, HEALTHY_MS + 2),
        ended,
        "back again"
    );
    again(&rollout, &mut seen, &ended, 2_000);
    rollout.act(Act::Next, &seen).unwrap();
    again(&rollout, &mut seen, &ended, 2_000);
    rollout.advance(0, &seen, 5_000);
    rollout.act(Act::Next, &seen).unwrap();
    let rest = rollout.advance(0, &seen, 5_000);
    again(&rollout, &mut seen, &rest, 5_000);
    rollout.advance(0, &seen, 7_000);
    assert_eq!(rollout.status, Status::Completed);
    assert!(rollout.act(Act::Revert, &seen).is_err(), "it is over");
}

#[derive(Clone, Debug)]
enum Event {
    /// Time passes.
    Wait(u16),
    /// Instances that were to end have, and start again.
    Restart,
    /// They have ended.
    End,
    /// A new object's instance starts.
    Start(u8),
    Fail,
    Act(u8),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let one = prop_oneof![
        3 => any::<u16>().prop_map(Event::Wait),
        4 => Just(Event::Restart),
        1 => Just(Event::End),
        2 => any::<u8>().prop_map(Event::Start),
        1 => Just(Event::Fail),
        1 => (0..3_u8).prop_map(Event::Act),
    ];
    prop::collection::vec(one, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    /// Whatever happens: objects get the target in one direction only unless somebody goes back, a step
    /// covers at least its percentage of those that run, only instances with the wrong version are ended,
    /// none younger than the grace period, and what is over stays over.
    #[test]
    fn a_rollout_keeps_its_promises(
        events in events(),
        steps in prop::collection::vec(1..=99_u8, 0..4),
        instances in 0..12_usize,
        manual in any::<bool>(),
        grace in 0..3_000_u64,
    ) {
        let mut steps = steps;
        steps.sort_unstable();
        steps.push(100);
        let listed: Vec<_> = steps.iter().map(|step| json!({"step_size": {"percentage": step}})).collect();
        let kind = if manual { "full_manual" } else { "full_auto" };
        let mut rollout = rollout(json!({"kind": kind, "steps": listed}));
        let mut seen = old(instances);
        let mut now = 0_u64;
        for event in events {
            let before = rollout.clone();
            let mut back = false;
            match event {
                Event::Wait(ms) => now += u64::from(ms),
                Event::Start(index) => {
                    let object = format!("object-{index}");
                    if !seen.iter().any(|one| one.object == object) {
                        let version = if rollout.has(&object) || rollout.status == Status::Completed { 2 } else { 1 };
                        seen.push(Seen { object, version, since_ms: Some(now), listened: true, refused: false });
                    }
                }
                Event::Restart | Event::End => {
                    let ended = rollout.advance(grace, &seen, now);
                    if matches!(event, Event::End) {
                        seen.retain(|one| !ended.contains(&one.object));
                    } else {
                        again(&rollout, &mut seen, &ended, now);
                    }
                }
                Event::Fail => { rollout.fail("it failed"); back = true; }
                Event::Act(act) => {
                    let act = [Act::Next, Act::Previous, Act::Revert][usize::from(act)];
                    back = act != Act::Next;
                    let _ = rollout.act(act, &seen);
                }
            }
            let at_begin = rollout.begun;
            let ended = rollout.advance(grace, &seen, now);
            for object in &ended {
                let one = seen.iter().find(|one| &one.object == object).unwrap();
                prop_assert_eq!(one.version == 2, !rollout.has(object));
                if one.version != 2 {
                    prop_assert!(now - one.since_ms.unwrap() >= grace);
                }
            }
            if !back && rollout.status != Status::Reverted {
                prop_assert!(rollout.share >= before.share);
            }
            if rollout.begun > at_begin && rollout.status == Status::Progressing {
                let step = &rollout.steps[rollout.begun - 1];
                let covered = seen.iter().filter(|one| rollout.has(&one.object)).count();
                prop_assert!(covered * 100 >= seen.len() * usize::from(step.percentage));
                prop_assert!(seen.is_empty() || covered > 0);
            }
            if !before.is_active() {
                prop_assert_eq!(&rollout.status, &before.status);
                prop_assert_eq!(rollout.share, before.share);
            }
            match rollout.status {
                Status::Completed => prop_assert_eq!(rollout.share, RANKS),
                Status::Reverted | Status::Pending => prop_assert_eq!(rollout.share, 0),
                _ => {}
            }
        }
    }
}
