//! Credentials for registries, from where Docker and containers' tools keep them. Secrets are never
//! printed: not by `Debug`, not in errors.

mod file;
mod program;

use crate::{Error, Result};
use file::{Entry, read_file};
use holdall::name::Repository;
use std::fmt;
use std::path::PathBuf;

/// Credentials for one repository.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// None are known.
    Anonymous,
    /// A name and a password (or a token in its place).
    Password {
        /// The user's name.
        user: String,
        /// The password.
        password: String,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Password { user, .. } => f
                .debug_struct("Password")
                .field("user", user)
                .finish_non_exhaustive(),
        }
    }
}

/// Where credentials are looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthPlaces {
    /// `$REGISTRY_AUTH_FILE`: if set, the only place.
    pub registry_auth_file: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
    /// `/run/containers/UID`: asked where there is no `runtime_dir`.
    pub run_containers: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`; `~/.config` where absent.
    pub config_home: Option<PathBuf>,
    /// `$DOCKER_CONFIG`; `~/.docker` where absent.
    pub docker_config: Option<PathBuf>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
}

impl AuthPlaces {
    /// The places that this process's environment names.
    #[must_use]
    pub fn from_environment() -> Self {
        let path = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        Self {
            registry_auth_file: path("REGISTRY_AUTH_FILE"),
            runtime_dir: path("XDG_RUNTIME_DIR"),
            run_containers: Some(format!("/run/containers/{}", nix::unistd::getuid()).into()),
            config_home: path("XDG_CONFIG_HOME"),
            docker_config: path("DOCKER_CONFIG"),
            home: path("HOME"),
        }
    }

    /// The files, in the order they are asked: that of `REGISTRY_AUTH_FILE` alone, or containers' `auth.json` of
    /// the session, then of the user, then Docker's `config.json`.
    fn files(&self) -> Vec<PathBuf> {
        if let Some(file) = &self.registry_auth_file {
            return vec![file.clone()];
        }
        let config_home = self
            .config_home
            .clone()
            .or_else(|| self.home.as_ref().map(|home| home.join(".config")));
        let docker = self
            .docker_config
            .clone()
            .or_else(|| self.home.as_ref().map(|home| home.join(".docker")));
        let containers = |dir: PathBuf| dir.join("containers");
        let session = self.runtime_dir.clone().map(containers);
        let containers = [
            session.or_else(|| self.run_containers.clone()),
            config_home.map(containers),
        ]
        .into_iter()
        .flatten()
        .map(|dir| dir.join("auth.json"));
        containers
            .chain(docker.map(|dir| dir.join("config.json")))
            .collect()
    }

    /// The credentials for a repository: of the first file that has any for it. In a file a program named for the
    /// registry comes first, then the entry of the longest part of the repository's name, then the
    /// program for all registries.
    pub fn look_up(&self, repository: &Repository) -> Result<Credentials> {
        for path in self.files() {
            let Some(file) = read_file(&path)? else {
                if self.registry_auth_file.is_some() {
                    return Err(Error::missing(format!("{} (REGISTRY_AUTH_FILE)", path.display())));
                }
                continue;
            };
            let registry = repository.registry();
            if let Some(program) = file.program_for(registry)
                && let Some(found) = program::ask(program, registry)?
            {
                return Ok(found);
            }
            match file.entry_for(repository) {
                Some(Entry::Password { user, password }) => {
                    return Ok(Credentials::Password {
                        user: user.clone(),
                        password: password.clone(),
                    });
                }
                Some(Entry::IdentityToken) => {
                    return Err(identity_token(&path.display().to_string(), registry));
                }
                None => {}
            }
            if let Some(program) = &file.program_for_all
                && let Some(found) = program::ask(program, registry)?
            {
                return Ok(found);
            }
        }
        Ok(Credentials::Anonymous)
    }
}

/// Identity tokens belong to another way of asking for a token, which is not spoken here.
fn identity_token(place: &str, registry: &str) -> Error {
    Error::unsupported(
        place,
        format!("the identity token for {registry}; log in with a user and a password or access token"),
    )
}

/// One name for the registry whose names differ by age and tool.
fn canonical_registry(host: &str) -> &str {
    match host {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests;
