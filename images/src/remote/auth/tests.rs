#![expect(
    clippy::disallowed_methods,
    reason = "the files of credentials that are read are no medium"
)]

use super::*;
use std::fs;

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn places(&self) -> AuthPlaces {
        AuthPlaces {
            home: Some(self.0.path().to_owned()),
            runtime_dir: Some(self.0.path().join("run")),
            ..AuthPlaces::default()
        }
    }
}

fn auths(entries: &[(&str, &str)]) -> String {
    use base64::Engine as _;
    let entries: Vec<String> = entries
        .iter()
        .map(|(key, user)| {
            let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:secret-of-{user}"));
            format!(r#""{key}":{{"auth":"{auth}"}}"#)
        })
        .collect();
    format!(r#"{{"auths":{{{}}}}}"#, entries.join(","))
}

fn user(places: &AuthPlaces, repository: &str) -> Option<String> {
    match places.look_up(&Repository::parse(repository).unwrap()).unwrap() {
        Credentials::Password { user, password } => {
            assert_eq!(password, format!("secret-of-{user}"));
            Some(user)
        }
        Credentials::Anonymous => None,
    }
}

#[test]
fn the_first_file_that_has_the_registry_wins() {
    let home = Home::new();
    let mut places = home.places();
    assert_eq!(user(&places, "h.x/a"), None);
    home.write(
        ".docker/config.json",
        &auths(&[("h.x", "docker"), ("only.x", "only")]),
    );
    assert_eq!(user(&places, "h.x/a").as_deref(), Some("docker"));
    home.write(".config/containers/auth.json", &auths(&[("h.x", "config")]));
    assert_eq!(user(&places, "h.x/a").as_deref(), Some("config"));
    home.write("run/containers/auth.json", &auths(&[("h.x", "runtime")]));
    assert_eq!(user(&places, "h.x/a").as_deref(), Some("runtime"));
    assert_eq!(user(&places, "only.x/a").as_deref(), Some("only"));
    let root = home.write("containers/0/auth.json", &auths(&[("h.x", "root")]));
    places.run_containers = root.parent().map(Into::into);
    assert_eq!(user(&places, "h.x/a").as_deref(), Some("runtime"));
    let runtime_dir = places.runtime_dir.take();
    assert_eq!(user(&places, "h.x/a").as_deref(), Some("root"));
    places.runtime_dir = runtime_dir;
    places.docker_config = Some(
        home.write("other/config.json", &auths(&[("only.x", "moved")]))
            .parent()
            .unwrap()
            .to_owned(),
    );
    assert_eq!(user(&places, "only.x/a").as_deref(), Some("moved"));
    places.registry_auth_file = Some(home.write("mine.json", &auths(&[("h.x", "mine")])));
    assert_eq!(user(&places, "h.x/a").as_deref(), Some("mine"));
    assert_eq!(user(&places, "only.x/a"), None);
    places.registry_auth_file = Some(home.0.path().join("none.json"));
    assert!(matches!(
        places.look_up(&Repository::parse("h.x/a").unwrap()),
        Err(Error::Missing { .. })
    ));
}

#[test]
fn the_longest_part_of_the_name_wins_and_docker_io_has_many_names() {
    let home = Home::new();
    let text = auths(&[
        ("h.x", "host"),
        ("h.x/a", "space"),
        ("h.x/a/b", "repository"),
        ("https://index.docker.io/v1/", "hub"),
    ]);
    home.write(".docker/config.json", &text);
    for (repository, expected) in [
        ("h.x/a/b", "repository"),
        ("h.x/a/c", "space"),
        ("h.x/ab", "host"),
        ("docker.io/library/nginx", "hub"),
    ] {
        assert_eq!(
            user(&home.places(), repository).as_deref(),
            Some(expected),
            "{repository}"
        );
    }
}

#[test]
fn what_is_wrong_is_told_without_the_secret() {
    let home = Home::new();
    for text in [
        r#"{"auths":{"h.x":{"auth":"c2VjcmV0"}}}"#,
        r#"{"auths":{"h.x":{"auth":"***secret"}}}"#,
        r#"{"auths":{"h.x":{"auth":["secret"]}}}"#,
        r#"{"auths":{"h.x":"secret"}}"#,
        r#"{"auths":{"h.x":{"identitytoken":"secret"}}}"#,
    ] {
        let path = home.write(".docker/config.json", text);
        let error = home
            .places()
            .look_up(&Repository::parse("h.x/a").unwrap())
            .unwrap_err();
        let message = format!("{error} {error:?}");
        assert!(message.contains(path.to_str().unwrap()), "{message}");
        assert!(
            !message.contains("secret") && !message.contains("c2VjcmV0"),
            "{message}"
        );
    }
    let password = Credentials::Password {
        user: "u".into(),
        password: "secret".into(),
    };
    assert!(!format!("{password:?}").contains("secret"));
}

#[test]
fn a_program_whose_name_has_a_path_is_not_run() {
    let home = Home::new();
    home.write(".docker/config.json", r#"{"credHelpers":{"h.x":"../../bin/x"}}"#);
    assert!(matches!(
        home.places().look_up(&Repository::parse("h.x/a").unwrap()),
        Err(Error::Malformed { .. })
    ));
}
