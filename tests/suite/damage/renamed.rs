//! Damage that agrees with itself: each object is damaged in every way, gets the name that its new bytes have, and the
//! index names it so, under the write secret. What notices it then is inside: tags, ids, signatures, sealed tables.
//!
//! In a run that is not long, bytes are flipped at the ends of each object and at places that a seed draws; every object, and
//! every other way, has its turn in each run. What is counted is printed, and no count may be zero.

use std::collections::BTreeMap;
use std::sync::Mutex;

use rayon::prelude::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};
use strongroom::backend::{ObjectKind, ObjectName};
use strongroom::crypto::derive::Purpose;
use strongroom::crypto::seal;
use strongroom::format::header::{HEADER_LEN, HeaderKind, header, strip};
use strongroom::format::index::{self, IndexObject};
use strongroom::id::Id;
use strongroom::repository::Repository;
use strongroom::repository::key_file::parse_key_file;
use strongroom::repository::keys::Credential;

use super::{Objects, Sound, backend, places};
use crate::support::Rng;

/// In how many ways an object is damaged.
const CLASSES: [&str; 7] =
    ["flipped", "cut short", "emptied", "made longer", "swapped", "deleted", "foreign"];
/// About so many bytes of each object are flipped, and those at its ends.
const DRAWN: usize = 48;

/// What is done to one object.
struct Case {
    name: ObjectName,
    class: &'static str,
    what: String,
    /// Its new bytes; nothing where it is deleted.
    bytes: Option<Vec<u8>>,
}

/// Every case of an object.
fn cases(sound: &Sound, other: &Sound, name: &ObjectName, rng: &mut Rng) -> Vec<Case> {
    let whole = &sound.objects[name];
    let length = whole.len();
    let mut cases = Vec::new();
    let mut add = |class, what: String, bytes: Option<Vec<u8>>| {
        cases.push(Case { name: *name, class, what: format!("{name} {class}: {what}"), bytes });
    };
    for at in places(length, (length / DRAWN).max(1), rng) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << rng.below(8);
        add("flipped", format!("byte {at}"), Some(bytes));
    }
    let mut lengths = vec![1, 7, 8, 15, 16, 17, 47, 48, 64, 100, length / 3, length / 2];
    lengths.extend([1, 16, 17, 48, 52, 53, 100].into_iter().filter_map(|less| length.checked_sub(less)));
    for shorter in lengths.into_iter().filter(|shorter| *shorter > 0 && *shorter < length) {
        add("cut short", format!("to {shorter}"), Some(whole[..shorter].to_vec()));
    }
    add("emptied", "nothing left".into(), Some(Vec::new()));
    for more in [1, 16, 48, 4096] {
        add("made longer", format!("{more} zeros"), Some([whole.as_slice(), &vec![0; more]].concat()));
    }
    add("made longer", "twice".into(), Some(whole.repeat(2)));
    for (one, bytes) in sound.objects.iter().filter(|(one, _)| one.kind == name.kind && *one != name) {
        add("swapped", format!("for {one}"), Some(bytes.clone()));
    }
    add("deleted", "gone".into(), None);
    for (foreign, bytes) in other.objects.iter().filter(|(foreign, _)| foreign.kind == name.kind) {
        add("foreign", format!("{foreign}"), Some(bytes.clone()));
    }
    cases
}

/// The same store after such damage, with names and index to match.
fn agreed(repository: &Repository, sound: &Objects, case: &Case) -> Objects {
    let mut objects = sound.clone();
    objects.remove(&case.name);
    let kind = case.name.kind;
    let by_hash = matches!(kind, ObjectKind::Pack | ObjectKind::Index | ObjectKind::Gc | ObjectKind::Key);
    let Some(bytes) = &case.bytes else {
        if kind == ObjectKind::Pack {
            name_in_index(repository, &mut objects, &case.name.id, None);
        }
        return objects;
    };
    let id = if by_hash { Id(*blake3::hash(bytes).as_bytes()) } else { case.name.id };
    if kind == ObjectKind::Pack {
        name_in_index(repository, &mut objects, &case.name.id, Some((id, bytes.len() as u64)));
    }
    objects.insert(ObjectName::new(kind, id), bytes.clone());
    objects
}

/// Writes the index objects anew that name a pack, under the write secret, as if it always had this name and size.
fn name_in_index(repository: &Repository, objects: &mut Objects, pack: &Id, new: Option<(Id, u64)>) {
    let key = repository.keyring().key(Purpose::Index);
    let bound = [&header(HeaderKind::Index)[..], repository.id().as_bytes(), &[0; 32]].concat();
    let named: Vec<ObjectName> =
        objects.keys().filter(|name| name.kind == ObjectKind::Index).copied().collect();
    for name in named {
        let sealed = strip(HeaderKind::Index, &objects[&name]).unwrap().to_vec();
        let mut object: IndexObject =
            index::decode(&seal::open_object(&key, &bound, &sealed).unwrap()).unwrap();
        if object.packs.iter().all(|record| record.id != *pack) {
            continue;
        }
        match new {
            None => object.packs.retain(|record| record.id != *pack),
            Some((id, size)) => object
                .packs
                .iter_mut()
                .filter(|record| record.id == *pack)
                .for_each(|record| (record.id, record.size) = (id, size)),
        }
        let sealed = seal::seal_object(&key, &bound, &index::encode(&object).unwrap()).unwrap();
        let bytes = [header(HeaderKind::Index).to_vec(), sealed].concat();
        assert!(bytes.len() > HEADER_LEN);
        objects.remove(&name);
        objects.insert(ObjectName::new(ObjectKind::Index, Id(*blake3::hash(&bytes).as_bytes())), bytes);
    }
}

/// Whether the check at hand has to notice a case; what it need not is told here, with the reason.
fn must_be_noticed(case: &Case, own_key: &Id) -> bool {
    match (case.name.kind, case.class) {
        // Only whoever holds another's key, or remembers what was there, can tell.
        (ObjectKind::Key, _) => case.name.id == *own_key && case.class == "deleted",
        (
            ObjectKind::Snapshot
            | ObjectKind::Session
            | ObjectKind::Abandoned
            | ObjectKind::Forgotten
            | ObjectKind::Gc,
            "deleted",
        ) => false,
        // Under its own name, it is the other once more: this is deleted.
        (ObjectKind::Gc, "swapped") => false,
        _ => true,
    }
}

/// Whether a key slot that no check can judge is refused by whoever holds it, or opens as what it was.
fn other_key_is_refused(sound: &Sound, objects: &Objects) -> bool {
    let text = std::fs::read_to_string(sound.site.join("backup.key")).unwrap();
    let credential = Credential::KeyFile(parse_key_file(&text).unwrap());
    match Repository::open(std::sync::Arc::new(backend(objects)), &credential) {
        Err(error) => !error.chain().is_empty(),
        Ok(_) => false,
    }
}

#[derive(Clone, Copy, Default)]
struct Count {
    cases: u64,
    noticed: u64,
    by_holder: u64,
    harmless: u64,
}

#[test]
fn damage_that_agrees_with_its_name_is_noticed_within() {
    let (sound, other) = (Sound::new(21), Sound::new(22));
    let repository = sound.open(&backend(&sound.objects)).unwrap();
    let own_key = *repository.keyring().slot();
    let mut rng = Rng::new(23);
    let cases: Vec<Case> =
        sound.objects.keys().flat_map(|name| cases(&sound, &other, name, &mut rng)).collect();
    let counts: Mutex<BTreeMap<(ObjectKind, &str), Count>> = Mutex::default();
    let missed = Mutex::new(Vec::new());
    cases.par_iter().enumerate().for_each(|(number, case)| {
        let objects = agreed(&repository, &sound.objects, case);
        let noticed = sound.is_noticed(&objects, &case.what, number, number % 41 == 0);
        let must = must_be_noticed(case, &own_key);
        let holder = case.name.kind == ObjectKind::Key && !noticed && other_key_is_refused(&sound, &objects);
        let mut counts = counts.lock().unwrap();
        let count = counts.entry((case.name.kind, case.class)).or_default();
        count.cases += 1;
        count.noticed += u64::from(noticed);
        count.by_holder += u64::from(holder);
        count.harmless += u64::from(!noticed && !holder && !must);
        // Of a key slot that is there, its holder notices what a check with another key cannot.
        let slot = case.name.kind == ObjectKind::Key && !["deleted", "swapped"].contains(&case.class);
        if (must || slot && !holder) && !noticed {
            missed.lock().unwrap().push(case.what.clone());
        }
    });
    let counts = counts.into_inner().unwrap();
    println!("{} cases, each under its new name", cases.len());
    for ((kind, class), count) in &counts {
        println!(
            "{kind:?} {class}: {} cases, {} noticed, {} by the key's holder, {} that change nothing anybody needs",
            count.cases, count.noticed, count.by_holder, count.harmless
        );
    }
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "{} not noticed: {missed:#?}", missed.len());
    for kind in ObjectKind::ALL {
        for class in CLASSES {
            // Of some there is one.
            let alone = sound.objects.keys().filter(|name| name.kind == kind).count() < 2;
            let count = counts.get(&(kind, class)).copied().unwrap_or_default();
            assert!(count.cases > 0 || class == "swapped" && alone, "{kind:?} {class}: no case");
            assert_eq!(count.cases, count.noticed + count.by_holder + count.harmless, "{kind:?} {class}");
        }
    }
}
