//! `containers[]`, one mistake at a time.

use berth_config::{ImageSource, Resources};
use insta::assert_snapshot;

use crate::support::{BOX, Dir, both, boxed, jsonc, project, quiet, toml, with_header_jsonc};

const BOX_TOML: &str = r#"
[[durable_objects.bindings]]
name = "BOX"
class_name = "Box"

[[migrations]]
tag = "v1"
new_sqlite_classes = ["Box"]

[[containers]]
class_name = "Box""#;

fn box_toml(fields: &str) -> String {
    format!("{BOX_TOML}\n{fields}")
}

#[test]
fn all_fields_are_read() {
    let project = project(&boxed(
        r#""name": "box-app", "max_instances": 7, "scheduling_policy": "default",
      "image_build_context": "./src", "image_vars": { "VERSION": "1" },
      "instance_type": { "vcpu": 2, "memory_mib": 2048, "disk_mb": 5000 },
      "ssh": { "enabled": true, "port": 2222 },
      "authorized_keys": [{ "name": "me", "public_key": "ssh-ed25519 AAAA" }],
      "trusted_user_ca_keys": [{ "public_key": "ssh-ed25519 AAAA" }],
      "constraints": { "regions": ["weur", "ENAM"], "jurisdiction": "EU", "tiers": [1, 2], "cities": ["ams"] },
      "affinities": { "colocation": "datacenter" },
      "rollout_step_percentage": 25, "rollout_kind": "full_manual", "rollout_active_grace_period": 60,
      "observability": { "enabled": true, "target_instance_percentage": 50 },
      "unsafe": { "anything": 1 }"#,
    ));
    let [app] = project.containers.as_slice() else {
        panic!("one container");
    };
    assert_eq!(app.name, "box-app");
    assert_eq!(app.class_name, "Box");
    assert_eq!(app.max_instances, 7);
    assert_eq!(app.instance_type, "custom");
    assert_eq!(
        app.resources,
        Resources {
            vcpu: 2.0,
            memory_mib: 2048,
            disk_mb: 5000
        }
    );
    assert_eq!(app.regions, ["WEUR", "ENAM"]);
    assert_eq!(app.jurisdiction.as_deref(), Some("eu"));
    assert_eq!(app.rollout_steps, [25, 50, 75, 100]);
    assert_eq!(app.rollout_kind, "full_manual");
    assert_eq!(app.rollout_active_grace_period_s, 60);
    let Some(ImageSource::Dockerfile {
        dockerfile,
        context,
        args,
    }) = &app.image
    else {
        panic!("a Dockerfile");
    };
    assert!(dockerfile.ends_with("Dockerfile") && dockerfile.is_absolute());
    assert!(context.ends_with("src"));
    assert_eq!(args["VERSION"], "1");
}

#[test]
fn defaults_are_wranglers() {
    let project = project(&format!(
        "{BOX}\n\"containers\": [{{ \"class_name\": \"Box\", \"image\": \"docker.io/library/nginx:1.29\" }}]"
    ));
    let app = &project.containers[0];
    assert_eq!(app.name, "app-box");
    assert_eq!(app.max_instances, 20);
    assert_eq!(app.instance_type, "lite");
    assert_eq!(app.scheduling_policy, "default");
    assert_eq!(app.rollout_steps, [10, 100]);
    assert_eq!(app.rollout_kind, "full_auto");
    assert_eq!(
        app.image,
        Some(ImageSource::Reference(
            "docker.io/library/nginx:1.29".to_owned()
        ))
    );
}

#[test]
fn an_image_may_be_a_directory_or_a_reference() {
    let dir = Dir::new();
    dir.write("box/Dockerfile", "FROM scratch");
    let image = |image: &str| {
        dir.write(
            "wrangler.jsonc",
            with_header_jsonc(&format!(
                "{BOX}\n\"containers\": [{{ \"class_name\": \"Box\", \"image\": \"{image}\" }}]"
            )),
        );
        quiet(&dir, &dir.options()).containers[0].image.clone()
    };
    for directory in ["./box", "box", "box/"] {
        assert_eq!(
            image(directory),
            Some(ImageSource::Dockerfile {
                dockerfile: dir.path().join("box/Dockerfile"),
                context: dir.path().join("box"),
                args: std::collections::BTreeMap::new(),
            })
        );
    }
    let digest = format!(
        "registry.example:5000/Team.x/app@sha256:{}",
        "0f".repeat(32)
    );
    let digest = digest.replace("Team.x", "team.x");
    for reference in ["nginx:1", "images.example/acc/app:v1.2_3", &digest] {
        assert_eq!(
            image(reference),
            Some(ImageSource::Reference(reference.to_owned()))
        );
    }
}

#[test]
fn missing_dockerfile() {
    assert_snapshot!(both(
        &format!("{BOX}\n  \"containers\": [{{ \"class_name\": \"Box\", \"image\": \"./Dokerfile\" }}]"),
        &box_toml("image = \"./docker/Dockerfile\""),
    ), @r#"
    error: the Dockerfile does not exist: `./Dokerfile`
     --> wrangler.jsonc:7:50
      |
    7 |   "containers": [{ "class_name": "Box", "image": "./Dokerfile" }]
      |                                                  ^^^^^^^^^^^^^
    hint: did you mean `./Dockerfile`?

    error: the Dockerfile does not exist: `./docker/Dockerfile`
      --> wrangler.toml:15:9
       |
    15 | image = "./docker/Dockerfile"
       |         ^^^^^^^^^^^^^^^^^^^^^
    hint: paths are relative to the configuration file
    "#);
}

#[test]
fn directory_without_dockerfile() {
    assert_snapshot!(both(
        &format!("{BOX}\n  \"containers\": [{{ \"class_name\": \"Box\", \"image\": \"./src\" }}]"),
        &box_toml("image = \"src\""),
    ), @r#"
    error: there is no Dockerfile in `./src`
     --> wrangler.jsonc:7:50
      |
    7 |   "containers": [{ "class_name": "Box", "image": "./src" }]
      |                                                  ^^^^^^^
    hint: name the file itself if it is called otherwise

    error: there is no Dockerfile in `src`
      --> wrangler.toml:15:9
       |
    15 | image = "src"
       |         ^^^^^
    hint: name the file itself if it is called otherwise
    "#);
}

#[test]
fn image_that_is_neither() {
    assert_snapshot!(toml(&box_toml("image = \"nginx\"")), @r#"
    error: `nginx` is neither a Dockerfile nor an image with a tag
      --> wrangler.toml:15:9
       |
    15 | image = "nginx"
       |         ^^^^^^^
    hint: for an image, add the tag: `nginx:latest`; paths are relative to the configuration file
    "#);
    assert_snapshot!(toml(&box_toml("image = \"https://images.example/nginx:1\"")), @r#"
    error: an image reference has no protocol: `https://images.example/nginx:1`
      --> wrangler.toml:15:9
       |
    15 | image = "https://images.example/nginx:1"
       |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    hint: write `images.example/nginx:1`
    "#);
    assert_snapshot!(toml(&box_toml("image = \"Nginx:1\"")), @r#"
    error: `Nginx:1` is not an image reference
      --> wrangler.toml:15:9
       |
    15 | image = "Nginx:1"
       |         ^^^^^^^^^
    hint: for example `docker.io/library/nginx:1.29`: lower-case but for the tag
    "#);
    assert_snapshot!(toml(&box_toml("image = \"\"")), @r#"
    error: `containers[0].image` must not be empty
      --> wrangler.toml:15:9
       |
    15 | image = ""
       |         ^^
    hint: remove it, or say something
    "#);
}

#[test]
fn image_missing() {
    assert_snapshot!(both(
        &format!("{BOX}\n  \"containers\": [\n    {{ \"class_name\": \"Box\" }}\n  ]"),
        &box_toml(""),
    ), @r#"
    error: `containers[0].image` is missing
     --> wrangler.jsonc:8:5
      |
    8 |     { "class_name": "Box" }
      |     ^^^^^^^^^^^^^^^^^^^^^^^
    hint: name a Dockerfile, for example `./Dockerfile`, or an image with a tag

    error: `containers[0].image` is missing
      --> wrangler.toml:13:1
       |
    13 | [[containers]]
       | ^^^^^^^^^^^^^^
    hint: name a Dockerfile, for example `./Dockerfile`, or an image with a tag
    "#);
}

#[test]
fn missing_build_context() {
    assert_snapshot!(jsonc(&boxed(r#""image_build_context": "./sr""#)), @r#"
    error: `containers[0].image_build_context` does not exist: `./sr`
     --> wrangler.jsonc:9:30
      |
    9 |       "image_build_context": "./sr" }
      |                              ^^^^^^
    hint: did you mean `./src`?
    "#);
    assert_snapshot!(jsonc(&boxed(r#""image_build_context": "./Dockerfile""#)), @r#"
    error: `containers[0].image_build_context` is a file: `./Dockerfile`
     --> wrangler.jsonc:9:30
      |
    9 |       "image_build_context": "./Dockerfile" }
      |                              ^^^^^^^^^^^^^^
    hint: the build context is a directory
    "#);
}

#[test]
fn build_arguments_without_a_build() {
    assert_snapshot!(toml(&box_toml("image = \"nginx:1\"\nimage_vars = { A = \"1\" }")), @r#"
    warning: `containers[0].image_vars` has no effect: the image is not built
      --> wrangler.toml:16:1
       |
    16 | image_vars = { A = "1" }
       | ^^^^^^^^^^
    hint: remove it, or name a Dockerfile as `image`
    "#);
}

#[test]
fn unknown_instance_type() {
    assert_snapshot!(both(
        &boxed(r#""instance_type": "standart-2""#),
        &box_toml("image = \"./Dockerfile\"\ninstance_type = \"huge\""),
    ), @r#"
    error: there is no instance type `standart-2`
     --> wrangler.jsonc:9:24
      |
    9 |       "instance_type": "standart-2" }
      |                        ^^^^^^^^^^^^
    hint: did you mean `standard-2`?

    error: there is no instance type `huge`
      --> wrangler.toml:16:17
       |
    16 | instance_type = "huge"
       |                 ^^^^^^
    hint: choose `lite`, `basic`, `standard-1`, `standard-2`, `standard-3`, `standard-4`, or an object with `vcpu`, `memory_mib` and `disk_mb`
    "#);
}

#[test]
fn old_instance_types_warn_and_work() {
    assert_snapshot!(both(
        &boxed(r#""instance_type": "dev""#),
        &box_toml("image = \"./Dockerfile\"\ninstance_type = \"standard\""),
    ), @r#"
    warning: the instance type `dev` has a new name
     --> wrangler.jsonc:9:24
      |
    9 |       "instance_type": "dev" }
      |                        ^^^^^
    hint: write `lite`: the old name will be removed

    warning: the instance type `standard` has a new name
      --> wrangler.toml:16:17
       |
    16 | instance_type = "standard"
       |                 ^^^^^^^^^^
    hint: write `standard-1`: the old name will be removed
    "#);
}

#[test]
fn custom_size_out_of_range() {
    assert_snapshot!(both(
        &boxed(r#""instance_type": { "vcpu": 8, "memory_mib": 32768, "disk_mb": 50000 }"#),
        &box_toml("image = \"./Dockerfile\"\ninstance_type = { vcpu = 0.01, memory_mib = 0, disk_mb = 1.5 }"),
    ), @r#"
    error: `containers[0].instance_type.vcpu` is out of range: 8
     --> wrangler.jsonc:9:34
      |
    9 |       "instance_type": { "vcpu": 8, "memory_mib": 32768, "disk_mb": 50000 } }
      |                                  ^
    hint: from 0.0625 to 4 virtual CPUs

    error: `containers[0].instance_type.memory_mib` is out of range: 32768
     --> wrangler.jsonc:9:51
      |
    9 |       "instance_type": { "vcpu": 8, "memory_mib": 32768, "disk_mb": 50000 } }
      |                                                   ^^^^^
    hint: a whole number from 1 to 16384 (MiB)

    error: `containers[0].instance_type.disk_mb` is out of range: 50000
     --> wrangler.jsonc:9:69
      |
    9 |       "instance_type": { "vcpu": 8, "memory_mib": 32768, "disk_mb": 50000 } }
      |                                                                     ^^^^^
    hint: a whole number from 1 to 20000 (MB)

    error: `containers[0].instance_type.vcpu` is out of range: 0.01
      --> wrangler.toml:16:26
       |
    16 | instance_type = { vcpu = 0.01, memory_mib = 0, disk_mb = 1.5 }
       |                          ^^^^
    hint: from 0.0625 to 4 virtual CPUs

    error: `containers[0].instance_type.memory_mib` is out of range: 0
      --> wrangler.toml:16:45
       |
    16 | instance_type = { vcpu = 0.01, memory_mib = 0, disk_mb = 1.5 }
       |                                             ^
    hint: a whole number from 1 to 16384 (MiB)

    error: `containers[0].instance_type.disk_mb` is out of range: 1.5
      --> wrangler.toml:16:58
       |
    16 | instance_type = { vcpu = 0.01, memory_mib = 0, disk_mb = 1.5 }
       |                                                          ^^^
    hint: a whole number from 1 to 20000 (MB)
    "#);
}

#[test]
fn custom_size_with_a_resources_table() {
    let dir = Dir::new();
    dir.write(
        "wrangler.toml",
        crate::support::with_header_toml(&box_toml(
            "image = \"./Dockerfile\"\ninstance_type = \"custom\"\n[containers.resources]\nvcpu = 2.0\nmemory_mib = 16384\ndisk_mb = 15000",
        )),
    );
    let project = quiet(&dir, &dir.options());
    assert_eq!(project.containers[0].instance_type, "custom");
    assert_eq!(
        project.containers[0].resources,
        Resources {
            vcpu: 2.0,
            memory_mib: 16_384,
            disk_mb: 15_000
        }
    );
}

#[test]
fn custom_size_that_says_nothing_or_too_much() {
    assert_snapshot!(toml(&box_toml("image = \"./Dockerfile\"\ninstance_type = \"custom\"")), @r#"
    error: `containers[0].instance_type` is `custom`, but no size follows
      --> wrangler.toml:16:17
       |
    16 | instance_type = "custom"
       |                 ^^^^^^^^
    hint: give `vcpu`, `memory_mib` and `disk_mb` in an object instead of the name
    "#);
    assert_snapshot!(toml(&box_toml("image = \"./Dockerfile\"\ninstance_type = \"basic\"\n[containers.resources]\nvcpu = 2.0")), @r#"
    error: `containers[0].resources` contradicts `containers[0].instance_type`
      --> wrangler.toml:17:13
       |
    17 | [containers.resources]
       |             ^^^^^^^^^
    hint: remove it, or set `containers[0].instance_type` to "custom"
    "#);
    assert_snapshot!(jsonc(&boxed(r#""instance_type": { "cpu": 2 }"#)), @r#"
    warning: unknown field `cpu` in `containers[0].instance_type`
     --> wrangler.jsonc:9:26
      |
    9 |       "instance_type": { "cpu": 2 } }
      |                          ^^^^^
    hint: did you mean `vcpu`?
    "#);
    assert_snapshot!(jsonc(&boxed(r#""instance_type": 2"#)), @r#"
    error: `containers[0].instance_type` must be a name or an object, but is a number
     --> wrangler.jsonc:9:24
      |
    9 |       "instance_type": 2 }
      |                        ^
    hint: for example `"basic"`
    "#);
}

#[test]
fn instances_and_wrangler_ssh_and_configuration_are_deprecated() {
    assert_snapshot!(jsonc(&boxed(r#""instances": 5,
      "wrangler_ssh": { "enabled": true },
      "durable_objects": { "namespace_id": "x" },
      "configuration": { "vcpu": 1, "memory_mib": 1024, "disk": { "size_mb": 3000 } }"#)), @r#"
    warning: `containers[0].instances` is deprecated
     --> wrangler.jsonc:9:7
      |
    9 |       "instances": 5,
      |       ^^^^^^^^^^^
    hint: it is ignored; use `max_instances`

    warning: `containers[0].wrangler_ssh` is deprecated
      --> wrangler.jsonc:10:7
       |
    10 |       "wrangler_ssh": { "enabled": true },
       |       ^^^^^^^^^^^^^^
    hint: use `ssh`

    warning: `containers[0].durable_objects` is deprecated
      --> wrangler.jsonc:11:7
       |
    11 |       "durable_objects": { "namespace_id": "x" },
       |       ^^^^^^^^^^^^^^^^^
    hint: it is ignored; use `class_name`

    warning: `containers[0].configuration` is deprecated
      --> wrangler.jsonc:12:7
       |
    12 |       "configuration": { "vcpu": 1, "memory_mib": 1024, "disk": { "size_mb": 3000 } } }
       |       ^^^^^^^^^^^^^^^
    hint: its `image` is now a field of the container; its limits are an object as `instance_type`
    "#);
}

#[test]
fn old_limits_and_instance_type_contradict() {
    assert_snapshot!(jsonc(&boxed(r#""instance_type": "lite",
      "configuration": { "vcpu": 1 }"#)), @r#"
    warning: `containers[0].configuration` is deprecated
      --> wrangler.jsonc:10:7
       |
    10 |       "configuration": { "vcpu": 1 } }
       |       ^^^^^^^^^^^^^^^
    hint: its `image` is now a field of the container; its limits are an object as `instance_type`

    error: `containers[0].configuration.vcpu` contradicts `containers[0].instance_type`
      --> wrangler.jsonc:10:26
       |
    10 |       "configuration": { "vcpu": 1 } }
       |                          ^^^^^^
    hint: remove it
    "#);
}

#[test]
fn counts_and_types() {
    assert_snapshot!(jsonc(&boxed(r#""max_instances": -1"#)), @r#"
    error: `containers[0].max_instances` cannot be -1
     --> wrangler.jsonc:9:24
      |
    9 |       "max_instances": -1 }
      |                        ^^
    hint: a whole number, 0 or more
    "#);
    assert_snapshot!(jsonc(&boxed(r#""max_instances": "ten""#)), @r#"
    error: `containers[0].max_instances` must be a number, but is a string
     --> wrangler.jsonc:9:24
      |
    9 |       "max_instances": "ten" }
      |                        ^^^^^
    hint: without quotes
    "#);
    assert_snapshot!(jsonc(&boxed(r#""max_instances": 2.5"#)), @r#"
    error: `containers[0].max_instances` cannot be 2.5
     --> wrangler.jsonc:9:24
      |
    9 |       "max_instances": 2.5 }
      |                        ^^^
    hint: a whole number, 0 or more
    "#);
    assert_snapshot!(toml("containers = 3"), @r"
    error: `containers` must be an array, but is a number
     --> wrangler.toml:4:14
      |
    4 | containers = 3
      |              ^
    hint: put the elements between `[` and `]`
    ");
    assert_snapshot!(jsonc(r#"  "containers": ["box"]"#), @r#"
    error: `containers[0]` must be an object, but is a string
     --> wrangler.jsonc:5:18
      |
    5 |   "containers": ["box"]
      |                  ^^^^^
    hint: put its fields between `{` and `}`
    "#);
}

#[test]
fn rollout_rules() {
    assert_snapshot!(jsonc(&boxed(r#""rollout_step_percentage": 30"#)), @r#"
    error: `containers[0].rollout_step_percentage` cannot be 30
     --> wrangler.jsonc:9:34
      |
    9 |       "rollout_step_percentage": 30 }
      |                                  ^^
    hint: choose 5, 10, 20, 25, 50 or 100, or give an array of percentages that ends with 100
    "#);
    assert_snapshot!(jsonc(&boxed(r#""rollout_step_percentage": [50, 20, 100]"#)), @r#"
    error: `containers[0].rollout_step_percentage` is not ascending
     --> wrangler.jsonc:9:39
      |
    9 |       "rollout_step_percentage": [50, 20, 100] }
      |                                       ^^
    hint: each step is the share of instances updated so far
    "#);
    assert_snapshot!(jsonc(&boxed(r#""rollout_step_percentage": [5, 100]"#)), @r#"
    error: `containers[0].rollout_step_percentage[0]` cannot be 5
     --> wrangler.jsonc:9:35
      |
    9 |       "rollout_step_percentage": [5, 100] }
      |                                   ^
    hint: a whole number from 10 to 100
    "#);
    assert_snapshot!(jsonc(&boxed(r#""rollout_step_percentage": [10, 50]"#)), @r#"
    error: `containers[0].rollout_step_percentage` does not end with 100
     --> wrangler.jsonc:9:39
      |
    9 |       "rollout_step_percentage": [10, 50] }
      |                                       ^^
    hint: the last step must reach all instances
    "#);
    assert_snapshot!(jsonc(&boxed(r#""max_instances": 2, "rollout_step_percentage": [10, 50, 100]"#)), @r#"
    error: `containers[0].rollout_step_percentage` has more steps than there are instances
     --> wrangler.jsonc:9:54
      |
    9 |       "max_instances": 2, "rollout_step_percentage": [10, 50, 100] }
      |                                                      ^^^^^^^^^^^^^
    hint: `max_instances` is 2
    "#);
    assert_snapshot!(jsonc(&boxed(r#""rollout_kind": "manual""#)), @r#"
    error: `containers[0].rollout_kind` cannot be `manual`
     --> wrangler.jsonc:9:23
      |
    9 |       "rollout_kind": "manual" }
      |                       ^^^^^^^^
    hint: choose one of `full_auto`, `full_manual`, `none`
    "#);
    assert_snapshot!(jsonc(&boxed(r#""rollout_active_grace_period": -5"#)), @r#"
    error: `containers[0].rollout_active_grace_period` cannot be -5
     --> wrangler.jsonc:9:38
      |
    9 |       "rollout_active_grace_period": -5 }
      |                                      ^^
    hint: a whole number, 0 or more
    "#);
    assert_eq!(
        project(&boxed(r#""max_instances": 1"#)).containers[0].rollout_steps,
        [100]
    );
}

#[test]
fn where_it_may_run() {
    assert_snapshot!(jsonc(&boxed(r#""constraints": { "regions": ["MOON"], "jurisdiction": "eus" }"#)), @r#"
    error: there is no region `MOON`
     --> wrangler.jsonc:9:36
      |
    9 |       "constraints": { "regions": ["MOON"], "jurisdiction": "eus" } }
      |                                    ^^^^^^
    hint: choose from `ENAM`, `WNAM`, `EEUR`, `WEUR`, `APAC`, `SAM`, `ME`, `OC`, `AFR`

    error: there is no jurisdiction `eus`
     --> wrangler.jsonc:9:61
      |
    9 |       "constraints": { "regions": ["MOON"], "jurisdiction": "eus" } }
      |                                                             ^^^^^
    hint: did you mean `eu`?
    "#);
    assert_snapshot!(jsonc(&boxed(r#""constraints": { "tier": 1 }"#)), @r#"
    warning: `containers[0].constraints.tier` is deprecated
     --> wrangler.jsonc:9:24
      |
    9 |       "constraints": { "tier": 1 } }
      |                        ^^^^^^
    hint: use `tiers`, an array
    "#);
    assert_snapshot!(jsonc(&boxed(r#""constraints": { "tier": 1, "tiers": [1] }"#)), @r#"
    error: `containers[0].constraints.tier` and `containers[0].constraints.tiers` cannot both be set
     --> wrangler.jsonc:9:24
      |
    9 |       "constraints": { "tier": 1, "tiers": [1] } }
      |                        ^^^^^^
    hint: keep `tiers`
    "#);
    assert_snapshot!(jsonc(&boxed(r#""scheduling_policy": "regionl""#)), @r#"
    error: `containers[0].scheduling_policy` cannot be `regionl`
     --> wrangler.jsonc:9:28
      |
    9 |       "scheduling_policy": "regionl" }
      |                            ^^^^^^^^^
    hint: did you mean `regional`?
    "#);
}

#[test]
fn ssh_rules() {
    assert_snapshot!(jsonc(&boxed(r#""ssh": { "port": 70000 }"#)), @r#"
    error: `containers[0].ssh.enabled` is missing
     --> wrangler.jsonc:9:14
      |
    9 |       "ssh": { "port": 70000 } }
      |              ^^^^^^^^^^^^^^^^^
    hint: add `enabled`

    error: `containers[0].ssh.port` cannot be 70000
     --> wrangler.jsonc:9:24
      |
    9 |       "ssh": { "port": 70000 } }
      |                        ^^^^^
    hint: a whole number from 1 to 65535
    "#);
    assert_snapshot!(jsonc(&boxed(r#""authorized_keys": [{ "public_key": "ssh-rsa AAAA" }]"#)), @r#"
    error: `containers[0].authorized_keys[0].name` is missing
     --> wrangler.jsonc:9:27
      |
    9 |       "authorized_keys": [{ "public_key": "ssh-rsa AAAA" }] }
      |                           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    hint: add `name`

    error: `containers[0].authorized_keys[0].public_key` is not an Ed25519 key
     --> wrangler.jsonc:9:43
      |
    9 |       "authorized_keys": [{ "public_key": "ssh-rsa AAAA" }] }
      |                                           ^^^^^^^^^^^^^^
    hint: make one with `ssh-keygen -t ed25519`; its public half begins with `ssh-ed25519`
    "#);
}

#[test]
fn observability_rules() {
    assert_snapshot!(jsonc(&boxed(r#""observability": { "enabled": true, "logs": { "enabled": false } }"#)), @r#"
    error: `containers[0].observability.logs.enabled` contradicts `containers[0].observability.enabled`
     --> wrangler.jsonc:9:64
      |
    9 |       "observability": { "enabled": true, "logs": { "enabled": false } } }
      |                                                                ^^^^^
    hint: keep one of them
    "#);
    assert_snapshot!(jsonc(&boxed(r#""observability": { "target_instance_percentage": 5, "target_instance_count": 1 }"#)), @r#"
    error: a percentage and a count of instances cannot both be observed
     --> wrangler.jsonc:9:59
      |
    9 |       "observability": { "target_instance_percentage": 5, "target_instance_count": 1 } }
      |                                                           ^^^^^^^^^^^^^^^^^^^^^^^
    hint: keep one of them
    "#);
}

#[test]
fn the_durable_object_policy_has_named_images() {
    let fields = format!(
        "{BOX}\n  \"containers\": [{{ \"class_name\": \"Box\", \"scheduling_policy\": \"durable_object\",
      \"images\": {{ \"a\": {{ \"dockerfile\": \"./Dockerfile\", \"build_vars\": {{ \"X\": \"y\" }} }}, \"b\": {{ \"image\": \"nginx:1\" }} }} }}]"
    );
    let project = project(&fields);
    let app = &project.containers[0];
    assert_eq!(app.image, None);
    assert_eq!(app.images.len(), 2);
    assert_eq!(
        app.images["b"],
        ImageSource::Reference("nginx:1".to_owned())
    );
}

#[test]
fn the_durable_object_policy_and_images_need_each_other() {
    assert_snapshot!(jsonc(&boxed(r#""scheduling_policy": "durable_object""#)), @r#"
    error: `containers[0].images` is missing
     --> wrangler.jsonc:8:5
      |
    8 |     { "class_name": "Box", "image": "./Dockerfile",
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    hint: the scheduling policy `durable_object` starts from named images

    error: `containers[0].image` does not go with the scheduling policy `durable_object`
     --> wrangler.jsonc:8:28
      |
    8 |     { "class_name": "Box", "image": "./Dockerfile",
      |                            ^^^^^^^
    hint: the class chooses image and size at each start, from `images`
    "#);
    assert_snapshot!(jsonc(&boxed(r#""images": { "a": { "image": "nginx:1" } }"#)), @r#"
    error: `containers[0].images` needs the scheduling policy `durable_object`
     --> wrangler.jsonc:9:7
      |
    9 |       "images": { "a": { "image": "nginx:1" } } }
      |       ^^^^^^^^
    hint: set `scheduling_policy`, or use `image`
    "#);
    assert_snapshot!(jsonc(&format!(
        "{BOX}\n  \"containers\": [{{ \"class_name\": \"Box\", \"scheduling_policy\": \"durable_object\",\n      \"images\": {{ \"a\": {{}} }} }}]"
    )), @r#"
    error: `containers[0].images.a` needs one of `dockerfile` and `image`
     --> wrangler.jsonc:8:19
      |
    8 |       "images": { "a": {} } }]
      |                   ^^^
    hint: `dockerfile` is built, `image` is pulled
    "#);
}

#[test]
fn unknown_fields_name_the_nearest() {
    assert_snapshot!(both(
        &boxed(r#""maxInstances": 3, "colour": "red""#),
        &box_toml("image = \"./Dockerfile\"\nimage_build_contxt = \".\""),
    ), @r#"
    warning: unknown field `maxInstances` in `containers[0]`
     --> wrangler.jsonc:9:7
      |
    9 |       "maxInstances": 3, "colour": "red" }
      |       ^^^^^^^^^^^^^^
    hint: did you mean `max_instances`?

    warning: unknown field `colour` in `containers[0]`
     --> wrangler.jsonc:9:26
      |
    9 |       "maxInstances": 3, "colour": "red" }
      |                          ^^^^^^^^
    hint: it is ignored; remove it

    warning: unknown field `image_build_contxt` in `containers[0]`
      --> wrangler.toml:16:1
       |
    16 | image_build_contxt = "."
       | ^^^^^^^^^^^^^^^^^^
    hint: did you mean `image_build_context`?
    "#);
}
