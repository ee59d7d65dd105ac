//! The file client: names over one metadata session, files → chunks → targets, retries across every change of routing.
//! One library under the mount, the Node SDK, the benchmark tool and the metadata service's own chunk work.
//!
//! Threads: callers' threads, one reader thread per connection, one timer thread, one thread that talks to the manager, one
//! that keeps the metadata session. Completions run on reader or timer threads and must not block.
//!
//! ```text
//! Client::connect(Config) -> Result<Arc<Client>>        client.root() client.routing() client.stop()
//! Caller { uid, gid, groups, pid, cancel: Option<Cancel> }           Cancel::new() .cancel()
//! // names (blocking; the code of the error is the errno)
//! client.lookup(&caller, parent, name: &[u8]) -> Result<Inode>
//! client.stat(&caller, inode) · read_link -> Bytes · stat_file_system · sync
//! client.make_directory(&caller, parent, name, mode) · make_node(.., mode, FileType, device) · symlink(.., target) · link
//! client.unlink · remove_directory -> Result<()> · rename(&caller, from_parent, from, to_parent, to, flags) -> Result<()>
//! client.read_directory(&caller, inode, offset, limit, plus) -> Result<ReadDirectoryReply>
//! client.set_attributes(&caller, SetAttributesRequest { header: None, .. }) -> Result<Inode> · set_layout
//! client.call(&caller, AnyMetadataRequest, done)                       // the same without blocking
//! // open files
//! client.open(&caller, inode, flags) -> Result<Arc<OpenFile>> · create(&caller, parent, name, mode, flags) -> Result<(Arc<OpenFile>, bool)>
//! file.attributes() -> Inode · inode() · session() · flags()
//! file.read(offset, len, done: FnOnce(Result<Vec<Bytes>>)) · read_wait(&caller, offset, len)    // clipped at end of file
//! file.write(offset, Vec<Bytes>, done: FnOnce(Result<()>)) · write_wait · report(&caller) · fsync(&caller)
//! file.close(&caller, done) · close_wait(&caller)
//! // chunks, without names (metadata service, locality)
//! client.chunks().read/write/flush/truncate/remove/query_length/locate(inode, &Layout, ..)
//! ```
