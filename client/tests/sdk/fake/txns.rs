//! Transactions of a fake node: over the one map that all nodes share, so atomic by its lock.

use super::*;
use flotilla_proto::v1::compare::Condition;
use flotilla_proto::v1::txn_operation::Operation;
use flotilla_proto::v1::txn_operation_result::Result as Answer;

/// Executes it: whether the compares held, what came of the operations, and the version that it made.
pub fn execute(sea: &Sea, it: &v1::TxnRequest) -> (bool, Vec<v1::TxnOperationResult>, u64) {
    let mut records = sea.records.lock().unwrap();
    let version = records.values().map(|record| record.version).max().unwrap_or_default() + 1;
    let succeeded = it.compares.iter().all(|compare| holds(compare, records.get(&compare.key)));
    let operations = if succeeded { &it.then } else { &it.otherwise };
    let answers = operations.iter().map(|operation| {
        let answer = match operation.operation.clone().unwrap() {
            Operation::Get(get) => Answer::Get(v1::TxnGetResult { record: records.get(&get.key).cloned() }),
            Operation::Put(put) => {
                let record = v1::Record { value: put.value, version, expires_ms: put.ttl_ms };
                records.insert(put.key, record);
                Answer::Put(v1::TxnPutResult { version })
            }
            Operation::Delete(delete) => {
                Answer::Delete(v1::TxnDeleteResult { existed: records.remove(&delete.key).is_some() })
            }
        };
        v1::TxnOperationResult { result: Some(answer) }
    });
    (succeeded, answers.collect(), version)
}

fn holds(compare: &v1::Compare, record: Option<&v1::Record>) -> bool {
    match compare.condition.as_ref().unwrap() {
        Condition::Version(version) => record.map_or(0, |record| record.version) == *version,
        Condition::Value(value) => record.is_some_and(|record| record.value == *value),
        Condition::Exists(exists) => record.is_some() == *exists,
    }
}
