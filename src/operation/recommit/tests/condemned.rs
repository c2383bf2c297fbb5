//! Beside a prune: what it has condemned comes back as long as it is there, and who was given up names nothing.

use super::*;

#[test]
fn what_is_to_come_back_is_copied_out_of_condemned_packs() {
    let (store_, _) = three_nights();
    for vanishes in [false, true] {
        let (copy, repository) = copy_of(&store_);
        let forgotten = repository.snapshots().unwrap().forgotten;
        let expected = paths(&repository, forgotten[0].root());
        let condemned = repository.list_ids(ObjectKind::Pack).unwrap();
        repository.put_condemned(condemned.clone()).unwrap();
        let dry = with(|around, told| unforget::run(&repository, &forgotten, true, around, told));
        assert!(dry.0.is_ok() && dry.1.is_empty());
        if vanishes {
            // A prune deletes them while they are being copied.
            let memory = copy.memory.clone();
            *copy.on_pack.lock().unwrap() = Some(Box::new(move |_| {
                for pack in &condemned {
                    memory.remove(&ObjectName::new(ObjectKind::Pack, *pack));
                }
            }));
        }
        let (done, made) = with(|around, told| each_command(&repository, "unforget", around, told));
        done.unwrap();
        let [(_, Made::New(id, _))] = made.as_slice() else { panic!("{made:?}") };
        // Without the packs that the prune is about to delete.
        for pack in repository.list_ids(ObjectKind::Gc).unwrap() {
            for pack in repository.read_condemned(&pack).unwrap().packs {
                copy.memory.remove(&ObjectName::new(ObjectKind::Pack, pack));
            }
        }
        assert_eq!(paths(&repository, repository.read_snapshot(id).unwrap().root()), expected);
        assert!(repository.list_ids(ObjectKind::Session).unwrap().is_empty());
    }
}

#[test]
fn what_a_prune_has_deleted_does_not_come_back() {
    let (store_, _) = three_nights();
    let repository = Repository::open(Arc::new(store_.clone()), &credential()).unwrap();
    let packs = repository.list_ids(ObjectKind::Pack).unwrap();
    repository.put_condemned(packs.clone()).unwrap();
    for pack in packs {
        store_.memory.remove(&ObjectName::new(ObjectKind::Pack, pack));
    }
    let (done, made) = with(|around, told| each_command(&repository, "unforget", around, told));
    assert_eq!(done.unwrap_err().kind(), ErrorKind::Missing);
    assert!(made.is_empty());
}

#[test]
fn who_is_given_up_half_way_names_no_packs_that_a_prune_has_deleted() {
    let (store_, _) = three_nights();
    let repository = Repository::open(Arc::new(store_.clone()), &credential()).unwrap();
    let other = Repository::open(Arc::new(store_.clone()), &credential()).unwrap();
    let memory = store_.memory.clone();
    *store_.on_pack.lock().unwrap() = Some(Box::new(move |_| {
        for session in other.list_ids(ObjectKind::Session).unwrap() {
            session::give_up(&other, &session, "another").unwrap();
            memory.remove(&ObjectName::new(ObjectKind::Session, session));
        }
    }));
    let before = repository.list_ids(ObjectKind::Index).unwrap();
    let (done, made) = with(|around, told| each_command(&repository, "rewrite", around, told));
    done.unwrap();
    assert!(made.iter().any(|(_, made)| matches!(made, Made::New(..))), "{made:?}");
    // The first attempt named nothing; what it stored, the second one found in no index and named.
    let now = repository.list_ids(ObjectKind::Index).unwrap();
    assert!(now.len() <= before.len() + 1, "{} index objects", now.len());
    assert_eq!(problems(&repository), 0);
}
