//! One user's way to a fleet, and what the SDK's errors mean for an exit code. A command line makes one session for its one
//! command; the interactive mode keeps one, so that its connections are made once.
//!
//! Keys go through the endpoints, which forward: kvctl talks to whom it was told to, and may well be where the nodes'
//! advertised addresses lead nowhere (a container, a NAT). The hop more costs a person nothing.

use std::io::{self, Read};
use std::time::Duration;

use flotilla_client::{Builder, Client, Error};
use tokio::sync::OnceCell;

use crate::admin::Admin;
use crate::cli::{Common, DEFAULT_ENDPOINTS};
use crate::endpoint::Endpoint;
use crate::failure::{Effect, Failure, one_line};
use crate::local::interrupt::Interrupts;

/// Who asks whom. What it needs is made when it is first needed.
pub struct Session {
    common: Common,
    admin: Admin,
    client: OnceCell<(Client, Endpoint)>,
    stdin: Stdin,
}

/// What stdin holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdin {
    /// A value, if a command reads one.
    Value,
    /// The next commands.
    Commands,
}

impl Session {
    /// Talks to the endpoints that `common` names.
    #[must_use]
    pub fn new(common: &Common, stdin: Stdin) -> Self {
        Self { common: common.clone(), admin: Admin::new(common), client: OnceCell::new(), stdin }
    }

    /// Whether it would do for a command with these flags.
    #[must_use]
    pub fn suits(&self, common: &Common) -> bool {
        let told = |it: &Common| (it.endpoint.clone(), it.timeout, it.tls.clone());
        told(&self.common) == told(common)
    }

    /// Questions to the nodes themselves.
    #[must_use]
    pub const fn admin(&self) -> &Admin {
        &self.admin
    }

    /// The SDK, for keys.
    ///
    /// # Errors
    /// No endpoint answers.
    pub async fn client(&self) -> Result<&Client, Failure> {
        let deadline = self.common.timeout.duration();
        let made = self.client.get_or_try_init(|| async {
            let (builder, living) = builder(&self.common, &self.admin, deadline).await?;
            Ok((build(builder.through_endpoints(true)).await?, living))
        });
        Ok(&made.await?.0)
    }

    /// Which endpoint answered when the client was made.
    #[must_use]
    pub fn endpoint(&self) -> Option<&Endpoint> {
        self.client.get().map(|(_, endpoint)| endpoint)
    }

    /// Signals that ask a command of this session to end. Between commands that are typed, only Ctrl-C is one: the others end
    /// the process.
    ///
    /// # Errors
    /// The system refuses.
    pub fn interrupts(&self) -> Result<Interrupts, Failure> {
        match self.stdin {
            Stdin::Value => Interrupts::listen(),
            Stdin::Commands => Interrupts::listen_to_ctrl_c(),
        }
    }

    /// What `-` reads.
    #[must_use]
    pub fn stdin(&self) -> Box<dyn Read + Send> {
        match self.stdin {
            Stdin::Value => Box::new(io::stdin()),
            Stdin::Commands => Box::new(Taken),
        }
    }
}

/// Stdin while commands are typed into it.
struct Taken;

impl Read for Taken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("commands are typed there; put it into a file"))
    }
}

/// A client that goes straight to the leaders. `deadline` is for one operation, retries included.
///
/// # Errors
/// No endpoint answers.
pub async fn straight(common: &Common, deadline: Duration) -> Result<Client, Failure> {
    let (builder, _) = builder(common, &Admin::new(common), deadline).await?;
    build(builder).await
}

/// The endpoints are tried here first: the SDK would try dead ones until the deadline, because it serves programs that run
/// for months; who types a command wants to know at once that there is no fleet.
async fn builder(common: &Common, admin: &Admin, deadline: Duration) -> Result<(Builder, Endpoint), Failure> {
    let (living, _) = admin.living().await?;
    // The default endpoints are guesses: what answers at two of them need not be one fleet.
    let guessed = common.endpoint.iter().map(Endpoint::as_str).eq(DEFAULT_ENDPOINTS);
    let others = common.endpoint.iter().filter(|endpoint| *endpoint != living && !guessed);
    let endpoints = std::iter::once(living).chain(others).map(Endpoint::as_str);
    Ok((Client::builder(endpoints).deadline(deadline).tls(admin.tls()?.cloned()), living.clone()))
}

async fn build(builder: Builder) -> Result<Client, Failure> {
    builder.build().await.map_err(|error| failure(Effect::Read, &error))
}

/// What an error of the SDK means for the command.
pub fn failure(effect: Effect, error: &Error) -> Failure {
    let text = one_line(&error.to_string());
    match error {
        Error::Invalid { .. } => Failure::Usage(text),
        Error::NotExecuted { .. } => Failure::Refused(text),
        Error::Unknown { .. } => Failure::open(effect, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_sdk_says_decides_the_exit_code() {
        let invalid = Error::Invalid { field: "key".to_string(), message: "too long".to_string() };
        let refused = Error::NotExecuted { retry_after: None, message: "no leader".to_string() };
        let unknown = Error::Unknown { message: "reset".to_string() };
        let code = |effect, error| failure(effect, error).code();
        assert_eq!([&invalid, &refused, &unknown].map(|error| code(Effect::Write, error)), [2, 3, 4]);
        assert_eq!([&invalid, &refused, &unknown].map(|error| code(Effect::Read, error)), [2, 3, 3]);
    }
}
