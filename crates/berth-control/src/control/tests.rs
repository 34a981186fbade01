use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::rollout::{Act, Status};
use crate::token::Scope;
use crate::upload::{Part, Upload, UploadError};

pub(super) fn control() -> (tempfile::TempDir, Control) {
    let directory = tempfile::tempdir().unwrap();
    let control = open(&directory);
    (directory, control)
}

pub(super) fn open(directory: &tempfile::TempDir) -> Control {
    let data = directory.path();
    Control::open(&data.join("control"), &data.join("keys/control.key")).unwrap()
}

pub(super) fn upload(code: &str, metadata: serde_json::Value) -> Upload {
    let mut whole = json!({"main_module": "index.js", "compatibility_date": "2026-01-01"});
    let extra = metadata.as_object().unwrap().clone();
    whole.as_object_mut().unwrap().extend(extra);
    let part = Part {
        name: "index.js".to_owned(),
        content_type: "application/javascript+module".to_owned(),
        bytes: code.as_bytes().to_vec(),
    };
    Upload::parse(whole.to_string().as_bytes(), vec![part]).unwrap()
}

pub(super) fn deploy(control: &Control, code: &str, metadata: serde_json::Value) -> Worker {
    let new = control
        .prepare("app", "me", upload(code, metadata))
        .unwrap();
    new.commit(true).unwrap()
}

pub(super) fn object(value: serde_json::Value) -> serde_json::Map<String, serde_json::Value> {
    value.as_object().unwrap().clone()
}

fn secrets(control: &Control) -> BTreeMap<String, String> {
    let worker = control.worker("app").unwrap();
    control
        .open_secrets(&worker, worker.live().unwrap())
        .unwrap()
}

fn modules(directory: &tempfile::TempDir) -> usize {
    fs_err::read_dir(directory.path().join("control/modules"))
        .unwrap()
        .count()
}

#[test]
fn a_deployment_is_there_after_a_restart() {
    let (directory, control) = control();
    assert!(matches!(
        control.worker("app"),
        Err(ControlError::NoWorker(_))
    ));
    let mut changes = control.changes();
    let worker = deploy(
        &control,
        "one",
        json!({"bindings": [{"name": "A", "type": "plain_text", "text": "x"}]}),
    );
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    assert_eq!(worker.live().unwrap().number, 1);
    let account = control.account().clone();
    drop(control);
    let control = open(&directory);
    assert_eq!(control.account(), &account);
    let again = control.worker("app").unwrap();
    assert_eq!(again.live().unwrap().id, worker.live().unwrap().id);
    let module = &again.live().unwrap().modules[0];
    assert_eq!(
        fs_err::read(control.content().path(&module.digest)).unwrap(),
        b"one"
    );
}

#[test]
fn a_version_is_live_when_it_is_deployed_and_can_be_brought_back() {
    let (_directory, control) = control();
    let first = deploy(&control, "one", json!({}))
        .live()
        .unwrap()
        .id
        .clone();
    let new = control
        .prepare("app", "me", upload("two", json!({})))
        .unwrap();
    let second = new.id().to_owned();
    let worker = new.commit(false).unwrap();
    assert_eq!(worker.live().unwrap().id, first);
    assert_eq!(worker.latest().unwrap().id, second);
    let none = BTreeMap::new();
    control.deploy("app", &second, "me", &none, false).unwrap();
    assert_eq!(control.worker("app").unwrap().live().unwrap().id, second);
    control.deploy("app", &first, "you", &none, false).unwrap();
    let worker = control.worker("app").unwrap();
    assert_eq!(worker.live().unwrap().id, first);
    assert_eq!(worker.deployments.len(), 3);
    assert_eq!(worker.deployments[0].author, "you");
    let error = control
        .deploy("app", "nope", "me", &none, false)
        .unwrap_err();
    assert!(matches!(error, ControlError::NoVersion { .. }));
    let error = control
        .prepare("Nope!", "me", upload("", json!({})))
        .unwrap_err();
    assert!(matches!(error, ControlError::BadName(_)));
    let lonely = control
        .prepare("other", "me", upload("", json!({})))
        .unwrap();
    assert!(matches!(
        lonely.commit(false),
        Err(ControlError::NoWorker(_))
    ));
}

#[test]
fn secrets_are_carried_from_version_to_version_and_sealed_on_disk() {
    let (directory, control) = control();
    deploy(
        &control,
        "one",
        json!({"bindings": [{"name": "KEY", "type": "secret_text", "text": "hunter2"}]}),
    );
    let set = |name: &str, text: Option<&str>| {
        let changes = BTreeMap::from([(name.to_owned(), text.map(str::to_owned))]);
        control.set_secrets("app", "me", &changes, &BTreeMap::new(), true)
    };
    set("OTHER", Some("swordfish")).unwrap();
    deploy(
        &control,
        "two",
        json!({"bindings": [{"name": "V", "type": "json", "json": 1}]}),
    );
    let both = BTreeMap::from([
        ("KEY".to_owned(), "hunter2".to_owned()),
        ("OTHER".to_owned(), "swordfish".to_owned()),
    ]);
    assert_eq!(secrets(&control), both);
    set("KEY", None).unwrap();
    assert_eq!(secrets(&control).len(), 1);
    assert!(matches!(
        set("KEY", None),
        Err(ControlError::NoSecret { .. })
    ));
    assert!(matches!(
        set("V", Some("x")),
        Err(ControlError::BindingTaken { .. })
    ));
    for entry in fs_err::read_dir(directory.path().join("control")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = fs_err::read(&path).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            assert!(
                !text.contains("hunter2") && !text.contains("swordfish"),
                "{path:?}"
            );
        }
    }
    // What was live before has another secret.
    let worker = control.worker("app").unwrap();
    let before = worker.versions[0].id.clone();
    let none = BTreeMap::new();
    let error = control
        .deploy("app", &before, "me", &none, false)
        .unwrap_err();
    assert!(
        matches!(&error, ControlError::SecretsChanged(names) if names == &["KEY", "OTHER"]),
        "{error}"
    );
    control.deploy("app", &before, "me", &none, true).unwrap();
    assert!(matches!(set("X", Some("y")), Err(ControlError::NotLive(_))));
    let changes = BTreeMap::from([("X".to_owned(), Some("y".to_owned()))]);
    let waiting = control
        .set_secrets("app", "me", &changes, &none, false)
        .unwrap();
    let worker = control.worker("app").unwrap();
    assert_eq!(worker.latest().unwrap().id, waiting);
    assert_eq!(worker.live().unwrap().id, before);
}

#[test]
fn bindings_are_inherited_kept_or_gone() {
    let (_directory, control) = control();
    let binding = |name: &str| json!({"name": name, "type": "plain_text", "text": name});
    deploy(
        &control,
        "one",
        json!({"bindings": [binding("A"), binding("B")]}),
    );
    let names = |worker: &Worker| -> Vec<String> {
        let bindings = worker.live().unwrap().bindings.iter();
        bindings.map(|binding| binding.name.clone()).collect()
    };
    let worker = deploy(
        &control,
        "two",
        json!({"bindings": [{"name": "B", "type": "inherit"}, binding("C")]}),
    );
    assert_eq!(names(&worker), ["C", "B"]);
    let worker = deploy(
        &control,
        "three",
        json!({"bindings": [binding("D")], "keep_bindings": ["plain_text"]}),
    );
    assert_eq!(names(&worker), ["D", "C", "B"]);
    assert_eq!(
        names(&deploy(&control, "four", json!({}))),
        Vec::<String>::new()
    );
    let missing = upload(
        "five",
        json!({"bindings": [{"name": "A", "type": "inherit"}]}),
    );
    let error = control.prepare("app", "me", missing).unwrap_err();
    assert!(matches!(
        error,
        ControlError::Upload(UploadError::Inherit(_))
    ));
}

#[test]
fn durable_objects_keep_their_key_through_renames() {
    let (_directory, control) = control();
    let object = |class: &str| json!([{"name": "O", "type": "durable_object_namespace", "class_name": class}]);
    let step = |new: &str, old: Option<&str>, step: serde_json::Value| json!({"new_tag": new, "old_tag": old, "steps": [step]});
    let unmade = upload("", json!({"bindings": object("A")}));
    let error = control.prepare("app", "me", unmade).unwrap_err();
    assert!(
        error.to_string().contains("no migration has made"),
        "{error}"
    );
    let first = deploy(
        &control,
        "one",
        json!({
            "bindings": object("A"), "migrations": step("v1", None, json!({"new_sqlite_classes": ["A"]})),
        }),
    );
    let key = first.classes["A"].key.clone();
    let second = deploy(
        &control,
        "two",
        json!({
            "bindings": object("B"),
            "migrations": step("v2", Some("v1"), json!({"renamed_classes": [{"from": "A", "to": "B"}]})),
        }),
    );
    assert_eq!(second.classes["B"].key, key);
    assert_eq!(second.migration_tag.as_deref(), Some("v2"));
    let none = BTreeMap::new();
    let error = control
        .deploy("app", &first.live().unwrap().id, "me", &none, false)
        .unwrap_err();
    assert!(
        error.to_string().contains("`A`"),
        "its class has another name now: {error}"
    );
    let third = deploy(
        &control,
        "three",
        json!({
            "migrations": step("v3", Some("v2"), json!({"deleted_classes": ["B"]})),
        }),
    );
    assert_eq!(third.discarded, std::slice::from_ref(&key));
    control.discarded("app", &[key]).unwrap();
    assert!(control.worker("app").unwrap().discarded.is_empty());
    let late = upload("", json!({"migrations": step("v4", Some("v1"), json!({}))}));
    assert!(matches!(
        control.prepare("app", "me", late),
        Err(ControlError::Migration(_))
    ));
}

#[test]
fn modules_that_nobody_needs_go() {
    let (directory, control) = control();
    deploy(&control, "one", json!({}));
    deploy(&control, "two", json!({}));
    let held = control
        .prepare("app", "me", upload("three", json!({})))
        .unwrap();
    drop(
        control
            .prepare("app", "me", upload("four", json!({})))
            .unwrap(),
    );
    assert_eq!(modules(&directory), 4);
    control.delete_worker("app", false).unwrap();
    assert_eq!(modules(&directory), 1, "one is about to be a version");
    held.commit(true).unwrap();
    assert_eq!(control.worker("app").unwrap().live().unwrap().number, 1);
    assert!(matches!(
        control.delete_worker("x", false),
        Err(ControlError::NoWorker(_))
    ));
}

#[test]
fn old_versions_are_forgotten_but_not_those_in_use() {
    let (_directory, control) = control();
    let first = deploy(&control, "0", json!({})).live().unwrap().id.clone();
    for number in 1..=worker::VERSIONS_KEPT + 5 {
        let new = control
            .prepare("app", "me", upload(&number.to_string(), json!({})))
            .unwrap();
        new.commit(false).unwrap();
    }
    let worker = control.worker("app").unwrap();
    assert_eq!(worker.live().unwrap().id, first);
    assert_eq!(worker.versions.len(), worker::VERSIONS_KEPT + 1);
    assert_eq!(
        worker.latest().unwrap().number,
        worker::VERSIONS_KEPT as u64 + 6
    );
}

#[test]
fn versions_are_kept_by_age_from_when_they_were_live() {
    let (_directory, control) = control();
    let retention = |seconds| Retention {
        versions: 3,
        max_age: Some(std::time::Duration::from_millis(seconds)),
    };
    control.keep(retention(3_600_000));
    for number in 0..5 {
        deploy(&control, &number.to_string(), json!({}));
    }
    let numbers = |worker: &Worker| -> Vec<u64> {
        let versions = worker.versions.iter();
        versions.map(|version| version.number).collect()
    };
    let worker = control.worker("app").unwrap();
    assert_eq!(numbers(&worker), [3, 4, 5]);
    assert_eq!(worker.deployments.len(), 3);
    control.keep(retention(0));
    let worker = deploy(&control, "5", json!({}));
    assert_eq!(numbers(&worker), [6], "the others are too old");
    assert_eq!(worker.deployments.len(), 1);
    // What was live until a moment ago is as old as that moment.
    std::thread::sleep(std::time::Duration::from_millis(60));
    control.keep(retention(50));
    let worker = deploy(&control, "6", json!({}));
    assert_eq!(numbers(&worker), [6, 7]);
}

#[test]
fn changes_at_the_same_time_all_happen() {
    let (_directory, control) = control();
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let control = control.clone();
            std::thread::spawn(move || {
                for round in 0..5 {
                    deploy(&control, &format!("{thread} {round}"), json!({}));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let worker = control.worker("app").unwrap();
    let numbers: Vec<u64> = worker
        .versions
        .iter()
        .map(|version| version.number)
        .collect();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    assert_eq!(worker.deployments.len(), 20);
}

#[test]
fn tokens_are_known_until_they_end() {
    let (_directory, control) = control();
    let (token, text) = control.make_token("laptop", Scope::Deploy, None).unwrap();
    assert_eq!(token.last_used, None);
    let shown = control.authenticate(&text).unwrap().unwrap();
    assert_eq!(shown.id, token.id);
    let noted = control.token(&token.id).unwrap();
    assert!(noted.last_used.is_some() && noted == shown);
    assert_eq!(control.authenticate(&text).unwrap().unwrap(), noted);
    assert!(control.authenticate("berth_guess").unwrap().is_none());
    let past = Some("2020-01-01T00:00:00Z".to_owned());
    let (_, expired) = control.make_token("old", Scope::Admin, past).unwrap();
    assert!(control.authenticate(&expired).unwrap().is_none());
    assert_eq!(control.tokens().unwrap().len(), 2);
    assert!(control.revoke_token(&token.id).unwrap());
    assert!(!control.revoke_token(&token.id).unwrap());
    assert!(control.authenticate(&text).unwrap().is_none());
}

fn with_object(control: &Control) -> String {
    let worker = deploy(
        control,
        "one",
        json!({"migrations": {"new_tag": "v1", "steps": [{"new_sqlite_classes": ["A"], "new_classes": ["Old"]}]}}),
    );
    worker.classes["A"].namespace_id.clone()
}

fn application(
    name: &str,
    namespace: &str,
    image: &str,
) -> serde_json::Map<String, serde_json::Value> {
    let json = json!({
        "name": name, "max_instances": 3, "constraints": {"tiers": [1, 2]},
        "configuration": {"image": image, "instance_type": "basic"},
        "durable_objects": {"namespace_id": namespace},
    });
    json.as_object().unwrap().clone()
}

/// wrangler's comparison ends at a `null` or a list in place of an object, and with it every later deploy.
#[test]
fn an_application_never_shows_what_clients_cannot_compare() {
    let (_directory, control) = control();
    let namespace = with_object(&control);
    let mut sent = application("app-a", &namespace, "image:1");
    sent.insert("affinities".to_owned(), json!(null));
    let made = control.create_application(sent).unwrap();
    assert!(!made.sent.contains_key("affinities"));
    let modify = |changes: serde_json::Value| {
        control.modify_application(&made.id, changes.as_object().unwrap())
    };
    let changed = modify(json!({"constraints": {"tiers": [1], "cities": null}})).unwrap();
    assert_eq!(changed.sent["constraints"], json!({"tiers": [1]}));
    let without = modify(json!({"constraints": null})).unwrap();
    assert!(!without.sent.contains_key("constraints"));
    for wrong in [
        json!({"constraints": {"tiers": [null]}}),
        json!({"constraints": "none"}),
        json!({"affinities": []}),
        json!({"max_instances": "many"}),
    ] {
        let refused = modify(wrong.clone()).unwrap_err();
        assert!(
            matches!(refused, ControlError::Application(_)),
            "{wrong}: {refused}"
        );
    }
    let target = json!({"target_configuration": {"image": "image:2", "disk": {"size_mb": null}}});
    let (rolled, _) = control
        .roll_out(&made.id, target.as_object().unwrap())
        .unwrap();
    assert_eq!(
        rolled.sent["configuration"],
        json!({"image": "image:2", "disk": {}})
    );
}

#[test]
fn an_application_is_echoed_and_changes_with_rollouts() {
    let (directory, control) = control();
    let namespace = with_object(&control);
    let sent = application("app-a", &namespace, "image:1");
    let made = control.create_application(sent.clone()).unwrap();
    assert_eq!(
        (made.sent.clone(), made.version, made.max_instances()),
        (sent, 1, 3)
    );
    assert_eq!(
        (made.live.image.as_str(), made.live.memory_mib),
        ("image:1", 1024)
    );
    let changes =
        json!({"max_instances": 5, "configuration": {"image": "image:2"}, "name": "other"});
    let changed = control
        .modify_application(&made.id, changes.as_object().unwrap())
        .unwrap();
    assert_eq!(
        (changed.max_instances(), changed.name.as_str()),
        (5, "app-a")
    );
    assert_eq!(changed.live.image, "image:1", "no rollout yet");
    let shown = &changed.sent["configuration"]["image"];
    assert_eq!(
        shown, "image:1",
        "who compares must see that it is not rolled out"
    );
    let wrong = json!({"configuration": {"image": ""}});
    assert!(
        control
            .modify_application(&made.id, wrong.as_object().unwrap())
            .is_err()
    );
    let request = json!({"description": "new", "target_configuration": {"image": "image:2"}});
    let (rolled, rollout) = control
        .roll_out(&made.id, request.as_object().unwrap())
        .unwrap();
    assert_eq!((rolled.live.image.as_str(), rolled.version), ("image:1", 2));
    assert_eq!(rolled.wanted("object").0.image, "image:1", "no step yet");
    assert_eq!(rolled.sent["configuration"]["image"], "image:2");
    assert_eq!((rollout.from_version, rollout.to_version), (1, 2));
    drop(control);
    let control = open(&directory);
    assert_eq!(control.application(&made.id).unwrap(), rolled);
    let (done, ended) = control
        .progress(&made.id, |rollout| rollout.advance(0, &[], 0))
        .unwrap();
    assert_eq!(ended, Some(Vec::new()));
    assert_eq!(
        (done.live.image.as_str(), done.live_version()),
        ("image:2", 2)
    );
    let (_, ended) = control.progress(&made.id, |_| ()).unwrap();
    assert_eq!(ended, None, "none is under way");
    let wrong = json!({"kind": "sometimes", "target_configuration": {"image": "x"}});
    let wrong = control.roll_out(&made.id, wrong.as_object().unwrap());
    assert!(wrong.unwrap_err().to_string().contains("`kind`"));
    assert!(
        control
            .roll_out("nope", request.as_object().unwrap())
            .is_err()
    );
    control.delete_worker("app", false).unwrap();
    assert_eq!(control.applications().unwrap(), []);
}

#[test]
fn another_address_of_the_registry_is_no_other_image() {
    let (_directory, control) = control();
    let worker = deploy(
        &control,
        "one",
        json!({"migrations": {"new_tag": "v1", "steps": [{"new_sqlite_classes": ["C"]}]}}),
    );
    let digest = |char: &str| format!("sha256:{}", char.repeat(64));
    let named = |host: &str, char: &str, more: serde_json::Value| {
        let mut configuration = json!({"image": format!("{host}/a/b@{}", digest(char))});
        let fields = configuration.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        configuration
    };
    let made = json!({
        "name": "c", "configuration": named("127.0.0.1:1", "a", json!({})),
        "durable_objects": {"namespace_id": worker.classes["C"].namespace_id},
    });
    let made = control.create_application(object(made)).unwrap();
    let roll_out = |target: serde_json::Value| {
        let request = object(json!({"target_configuration": target}));
        control.roll_out(&made.id, &request).unwrap()
    };
    let (application, rollout) = roll_out(named("127.0.0.1:2", "a", json!({})));
    assert_eq!(rollout.status, Status::Completed);
    assert_eq!((rollout.from_version, rollout.to_version), (1, 1));
    assert_eq!(application.wanted("x").1, 1, "instances stay");
    assert!(application.live.image.starts_with("127.0.0.1:2/"));
    let sent = &application.sent["configuration"];
    assert_eq!(*sent, named("127.0.0.1:2", "a", json!({})));
    // Another content, and another size, are changes.
    let (_, rollout) = roll_out(named("127.0.0.1:2", "a", json!({"vcpu": 1})));
    assert_eq!(rollout.status, Status::Pending);
    let (_, rollout) = roll_out(named("127.0.0.1:3", "b", json!({"vcpu": 1})));
    assert_eq!((rollout.status, rollout.to_version), (Status::Pending, 3));
}

#[test]
fn a_rollout_that_is_given_up_leaves_what_was_before() {
    let (_directory, control) = control();
    let namespace = with_object(&control);
    let made = control
        .create_application(application("app-a", &namespace, "image:1"))
        .unwrap();
    let ask = |image: &str| {
        let request = json!({"kind": "full_manual", "target_configuration": {"image": image}});
        control
            .roll_out(&made.id, request.as_object().unwrap())
            .unwrap()
    };
    let (_, first) = ask("image:2");
    let (application, second) = ask("image:3");
    assert_eq!(application.rollouts[1].status, Status::Replaced);
    assert_eq!((second.from_version, second.to_version), (1, 3));
    let act = |rollout: &str, act| control.act_on_rollout(&made.id, rollout, act, &[]);
    assert!(act(&first.id, Act::Next).is_err(), "it was replaced");
    assert!(matches!(
        act("nope", Act::Next),
        Err(ControlError::NoRollout(_))
    ));
    act(&second.id, Act::Next).unwrap();
    let (application, second) = act(&second.id, Act::Revert).unwrap();
    assert_eq!(second.status, Status::Reverted);
    assert_eq!(application.sent["configuration"]["image"], "image:1");
    assert_eq!(application.wanted("object"), (&made.live, 1));
    let images: Vec<_> = application.images().collect();
    assert_eq!(images, ["image:1"]);
}

#[test]
fn going_back_to_a_version_brings_its_image_back() {
    let (_directory, control) = control();
    let namespace = with_object(&control);
    let made = control
        .create_application(application("app-a", &namespace, "image:1"))
        .unwrap();
    let first = control.worker("app").unwrap().live().unwrap().id.clone();
    let roll = |image: &str| {
        let request = json!({"target_configuration": {"image": image}});
        control
            .roll_out(&made.id, request.as_object().unwrap())
            .unwrap();
        control
            .progress(&made.id, |rollout| rollout.advance(0, &[], 0))
            .unwrap();
    };
    deploy(&control, "two", json!({}));
    roll("image:2");
    let second = control.worker("app").unwrap().live().unwrap().id.clone();
    let none = BTreeMap::new();
    control.deploy("app", &first, "me", &none, false).unwrap();
    let back = control.application(&made.id).unwrap();
    let rollout = back.rollout().expect("it is under way");
    assert_eq!(rollout.configuration["image"], "image:1");
    let images: std::collections::BTreeSet<_> = back.images().collect();
    assert_eq!(images, ["image:1", "image:2"].into());
    control.obey_deployments().unwrap();
    assert_eq!(control.application(&made.id).unwrap(), back, "once");
    control.deploy("app", &second, "me", &none, false).unwrap();
    let forth = control.application(&made.id).unwrap();
    assert_eq!(forth.rollout().unwrap().configuration["image"], "image:2");
}

#[test]
fn an_application_of_objects_has_no_image_and_no_rollouts() {
    let (_directory, control) = control();
    let namespace = with_object(&control);
    let sent = json!({"name": "app-a", "scheduling_policy": "durable_object",
        "durable_objects": {"namespace_id": namespace}});
    let made = control
        .create_application(sent.as_object().unwrap().clone())
        .unwrap();
    assert_eq!(made.id, namespace);
    assert_eq!(made.images().count(), 0);
    let request = json!({"target_configuration": {"image": "image:2"}});
    let refused = control.roll_out(&made.id, request.as_object().unwrap());
    assert!(refused.unwrap_err().to_string().contains("no rollouts"));
    let changes = json!({"scheduling_policy": "default"});
    assert!(
        control
            .modify_application(&made.id, changes.as_object().unwrap())
            .is_err()
    );
    let changes = json!({"configuration": {"wrangler_ssh": {"enabled": true}}});
    let changed = control
        .modify_application(&made.id, changes.as_object().unwrap())
        .unwrap();
    assert_eq!(changed.sent["configuration"], changes["configuration"]);
}

#[test]
fn a_class_has_one_application_and_sqlite() {
    let (_directory, control) = control();
    let namespace = with_object(&control);
    let refused = |sent| control.create_application(sent).unwrap_err().to_string();
    assert!(refused(application("a", "nothing", "i")).contains("`nothing`"));
    let old = control.worker("app").unwrap().classes["Old"]
        .namespace_id
        .clone();
    assert!(refused(application("a", &old, "i")).contains("SQLite"));
    assert!(refused(application("", &namespace, "i")).contains("`name`"));
    assert!(refused(application("a", &namespace, "")).contains("image"));
    control
        .create_application(application("a", &namespace, "i"))
        .unwrap();
    assert!(refused(application("b", &namespace, "i")).contains("`a` already"));
    assert!(refused(application("a", "other", "i")).contains("other"));
    let id = control.applications().unwrap()[0].id.clone();
    control.delete_application(&id).unwrap();
    assert!(matches!(
        control.delete_application(&id),
        Err(ControlError::NoApplication(_))
    ));
}

#[tokio::test]
async fn a_worker_needs_its_buckets() {
    let (_directory, control) = control();
    let bindings =
        json!({"bindings": [{"name": "B", "type": "r2_bucket", "bucket_name": "files"}]});
    let prepare = || control.prepare("app", "me", upload("a", bindings.clone()));
    let error = prepare().unwrap_err().to_string();
    assert!(
        error.contains("`B`") && error.contains("`files`"),
        "{error}"
    );
    assert!(matches!(
        control.worker("app"),
        Err(ControlError::NoWorker(_))
    ));
    let class = berth_r2::StorageClass::default();
    control.r2().create_bucket("files", class).await.unwrap();
    prepare().unwrap().commit(true).unwrap();
}

#[tokio::test]
async fn r2_access_keys_are_sealed_and_taken_back() {
    use berth_r2::s3::{Keys as _, Permission};
    let (directory, control) = control();
    let buckets = Some(vec!["files".to_owned()]);
    let make =
        |control: &Control| control.make_r2_key("one", Permission::ObjectRead, buckets.clone());
    assert!(matches!(make(&control), Err(ControlError::R2(_))));
    let class = berth_r2::StorageClass::default();
    control.r2().create_bucket("files", class).await.unwrap();
    let (key, secret) = make(&control).unwrap();
    drop(control);
    let control = open(&directory);
    let known = control.key(&key.id).unwrap().unwrap();
    assert_eq!(
        (known.secret.as_str(), known.buckets),
        (secret.as_str(), buckets)
    );
    let records = fs_err::read(directory.path().join("control/records.db")).unwrap();
    assert!(
        !records
            .windows(64)
            .any(|window| window == secret.as_bytes())
    );
    assert_eq!(control.r2_keys().unwrap().len(), 1);
    control.delete_r2_key(&key.id).unwrap();
    assert!(control.key(&key.id).unwrap().is_none());
    assert!(matches!(
        control.delete_r2_key(&key.id),
        Err(ControlError::NoAccessKey(_))
    ));
}

#[test]
fn the_ssh_host_key_is_made_once_and_sealed() {
    let (directory, control) = control();
    let key = control.ssh_host_key().unwrap();
    assert_eq!(control.ssh_host_key().unwrap(), key);
    drop(control);
    let control = open(&directory);
    assert_eq!(control.ssh_host_key().unwrap(), key);
    let records = fs_err::read(directory.path().join("control/records.db")).unwrap();
    assert!(!records.windows(32).any(|window| window == key));
    drop(control);
    // Records that were restored without the key: another one is made, and stays.
    fs_err::remove_file(directory.path().join("keys/control.key")).unwrap();
    let control = open(&directory);
    let other = control.ssh_host_key().unwrap();
    assert_ne!(other, key);
    assert_eq!(control.ssh_host_key().unwrap(), other);
}
