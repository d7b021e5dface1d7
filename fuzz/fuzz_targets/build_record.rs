//! Records of builds from anywhere are read or refused, and whatever is read has no cycle.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut bytes = b"{\"line\":\"begin\",\"v\":1,\"kiln\":\"\",\"created_ms\":0,\"name\":\"\",\"asked\":{}}\n".to_vec();
    bytes.extend_from_slice(data);
    let past = kiln_engine::history::read_build(&bytes[..], "id", &mut |_| {}).expect("it begins as one");
    for (index, task) in past.tasks.iter().enumerate() {
        assert!(task.inputs.iter().all(|input| *input < index));
    }
    assert!(past.critical_path().len() <= past.tasks.len());
    assert_eq!(past.slots().len(), past.tasks.len());
});
