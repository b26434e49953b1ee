//! One function for each thing that can be asked of keys: told the way, or forwarded by the SDK. Unary methods and the
//! pipeline both come here.

use bytes::Bytes;
use flotilla_client::dispatch::Target;
use flotilla_proto::{status, v1};
use flotilla_topology::Slot;
use tonic::Status;

use crate::door::Door;
use crate::metrics::Outcome as Counted;
use crate::statuses::status_of;

/// An answer, as it is counted.
pub(crate) trait Told {
    /// What became of the request.
    fn told(&self) -> Counted;
}

macro_rules! verb {
    ($method:ident, $request:ident, $response:ident, $outcome:path, $target:expr, $told:expr) => {
        pub(crate) async fn $method(door: Door, message: v1::$request) -> Result<v1::$response, Status> {
            use $outcome as Outcome;
            let target: fn(&v1::$request) -> Result<Target, Status> = $target;
            let outcome = match door.redirect(message.route_mode, target(&message)?)? {
                Some(redirect) => Outcome::Redirect(redirect),
                None => {
                    let answered = door.forwarder.$method(message).await;
                    Outcome::Result(answered.map_err(|unanswered| status_of(&unanswered))?)
                }
            };
            Ok(v1::$response { outcome: Some(outcome) })
        }

        impl Told for v1::$response {
            fn told(&self) -> Counted {
                use $outcome as Outcome;
                match &self.outcome {
                    Some(Outcome::Result(result)) => $told(result),
                    _ => Counted::Redirected,
                }
            }
        }
    };
}

verb!(get, GetRequest, GetResponse, v1::get_response::Outcome, |it| of_key(&it.key), |it: &v1::GetResult| {
    if it.record.is_some() { Counted::Ok } else { Counted::NotFound }
});
verb!(put, PutRequest, PutResponse, v1::put_response::Outcome, |it| of_key(&it.key), |_| Counted::Ok);
verb!(
    delete,
    DeleteRequest,
    DeleteResponse,
    v1::delete_response::Outcome,
    |it| of_key(&it.key),
    |it: &v1::DeleteResult| if it.existed { Counted::Ok } else { Counted::NotFound }
);
verb!(
    compare_and_swap,
    CompareAndSwapRequest,
    CompareAndSwapResponse,
    v1::compare_and_swap_response::Outcome,
    |it| of_key(&it.key),
    |it: &v1::CompareAndSwapResult| if it.swapped { Counted::Ok } else { Counted::Conflict }
);
verb!(
    txn,
    TxnRequest,
    TxnResponse,
    v1::txn_response::Outcome,
    |it| of_key(first_key(it).unwrap_or(&Bytes::new())),
    |it: &v1::TxnResult| if it.succeeded { Counted::Ok } else { Counted::Conflict }
);

fn of_key(key: &Bytes) -> Result<Target, Status> {
    if key.is_empty() {
        return Err(status::invalid("key", "the key is empty"));
    }
    Ok(Target::Slot(Slot::of(key)))
}

/// Any key says where a transaction belongs: all of them are of one slot, which the SDK checks.
fn first_key(txn: &v1::TxnRequest) -> Option<&Bytes> {
    use v1::txn_operation::Operation;
    let compared = txn.compares.iter().map(|compare| &compare.key);
    let operations = txn.then.iter().chain(&txn.otherwise);
    let operated = operations.filter_map(|operation| match operation.operation.as_ref()? {
        Operation::Get(get) => Some(&get.key),
        Operation::Put(put) => Some(&put.key),
        Operation::Delete(delete) => Some(&delete.key),
    });
    compared.chain(operated).next()
}
