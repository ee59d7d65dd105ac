//! What a punch does where there is no chunk: nothing, under a version of its own.

use crate::support::*;
use chunk_engine::disk::Crash;
use chunk_engine::{Engine, MemoryDisk, Update};
use std::sync::Arc;

#[test]
fn a_punch_makes_no_chunk() {
    let disk = MemoryDisk::new(1 << 30);
    let engine = Engine::create(Arc::new(disk.clone()), options()).unwrap();
    let (never, gone) = (id(1, 0), id(1, 1));
    let punch = Update::Punch { offset: 0, length: 65_536 };
    write(&engine, gone, 0, 0, b"for a while").unwrap();
    engine.stage(&request(gone, 1, Update::Remove)).unwrap();
    engine.commit(gone, version(2)).unwrap();
    for (chunk, base) in [(never, 0), (gone, 2)] {
        let staged = engine.stage(&request(chunk, base, punch)).unwrap();
        assert_eq!((staged.chunk_length, staged.allocated_delta), (0, 0));
        engine.commit(chunk, version(base + 1)).unwrap();
        let meta = engine.meta(chunk).unwrap();
        assert!(meta.removed && meta.committed == version(base + 1), "{meta:?}");
    }
    engine.close().unwrap();
    let (engine, _) = Engine::open(Arc::new(disk.after(Crash::KeepAll)), options()).unwrap();
    assert!([never, gone].iter().all(|chunk| engine.meta(*chunk).unwrap().removed));
    assert_eq!(engine.space().unwrap().used, 0);
    write(&engine, gone, 3, 0, b"again").unwrap();
    assert_eq!(content(&engine, gone), b"again");
}
