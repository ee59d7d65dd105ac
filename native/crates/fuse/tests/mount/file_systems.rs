//! The suite that every file system on this session passes. It runs over the memory file system, or, with
//! CATENA_SUITE_DIRECTORY, over any directory: a mounted cluster passes the same tests.

use crate::mounted::MemoryMount;
use std::path::PathBuf;

/// Where a test works; the mount lives as long as this.
struct Place {
    path: PathBuf,
    _mount: Option<MemoryMount>,
    _directory: tempfile::TempDir,
}

fn place() -> Place {
    let given = std::env::var_os("CATENA_SUITE_DIRECTORY");
    let mount = given.is_none().then(|| MemoryMount::start(&[]));
    let root =
        mount.as_ref().map_or_else(|| PathBuf::from(given.unwrap_or_default()), |mount| mount.path.clone());
    let directory = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir_in(root)
        .expect("a directory on the mount");
    Place { path: directory.path().to_path_buf(), _directory: directory, _mount: mount }
}

macro_rules! tests {
    ($($module:ident: $($name:ident),*;)*) => {
        $($(#[test] fn $name() { crate::suite::$module::$name(&place().path); })*)*
    };
}

tests! {
    data: random_writes_read_back, a_large_file_reads_back, shrunk_then_grown_reads_zeros, append_goes_to_the_end,
        open_truncates, holes_read_as_zeros, direct_and_cached_io_agree, fallocate_is_honest, sync_succeeds;
    names: a_large_directory_lists_once, listing_goes_on_after_removals, rename_replaces, rename_flags,
        rename_refuses_what_it_must, symbolic_links, hard_links, exclusive_create, name_limits, special_files,
        directories_count_links;
    attributes: modes_and_owners, directory_times_follow_names, times_to_the_nanosecond, unlinked_while_open, writing_clears_set_user_id,
        other_users_are_refused, set_group_id_is_inherited, statistics;
}
