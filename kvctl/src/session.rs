//! The SDK on behalf of a command, and what its errors mean for an exit code.

use std::time::Duration;

use flotilla_client::{Client, Error};

use crate::admin::Admin;
use crate::cli::Common;
use crate::endpoint::Endpoint;
use crate::failure::{Effect, Failure, one_line};

/// A client of the fleet. `deadline` is for one operation, retries included.
///
/// The endpoints are tried here first: the SDK would try dead ones until the deadline, because it serves programs that run
/// for months; who types a command wants to know at once that there is no fleet.
///
/// # Errors
/// No endpoint answers.
pub async fn connect(shared: &Common, deadline: Duration) -> Result<Client, Failure> {
    let admin = Admin::new(shared);
    let (living, _) = admin.living().await?;
    let others = shared.endpoint.iter().filter(|endpoint| *endpoint != living);
    let endpoints = std::iter::once(living).chain(others).map(Endpoint::as_str);
    let client = Client::builder(endpoints).deadline(deadline).build().await;
    client.map_err(|error| failure(Effect::Read, &error))
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
