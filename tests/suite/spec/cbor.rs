//! A small reader of CBOR of its own, so that the program's encoder is not its own judge.

/// What stands in a record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Unsigned(u64),
    Negative,
    Bytes(usize),
    Text,
    Array(Vec<Value>),
    Map(Vec<(u64, Value)>),
    Bool,
}

/// Reads one value that fills the bytes, in the encoding that the conventions allow.
pub(crate) fn read(bytes: &[u8]) -> Result<Value, String> {
    let mut rest = bytes;
    let value = value(&mut rest)?;
    if rest.is_empty() { Ok(value) } else { Err("bytes are left over".to_owned()) }
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Result<&'a [u8], String> {
    let split = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
    let (taken, after) = split.ok_or("it ends too early")?;
    *rest = after;
    Ok(taken)
}

fn value(rest: &mut &[u8]) -> Result<Value, String> {
    let first = take(rest, 1)?[0];
    let argument = match first & 31 {
        small @ 0..24 => u64::from(small),
        code @ 24..28 => {
            let length = 1 << (code - 24);
            let number = take(rest, length)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            let least = if length == 1 { 24 } else { 1 << (4 * length) };
            if number < least {
                return Err("a number or length is not in its shortest form".to_owned());
            }
            number
        }
        _ => return Err("an indefinite or reserved length".to_owned()),
    };
    Ok(match first >> 5 {
        0 => Value::Unsigned(argument),
        1 => Value::Negative,
        2 => Value::Bytes(take(rest, argument)?.len()),
        3 => std::str::from_utf8(take(rest, argument)?).map(|_| Value::Text).map_err(|_| "not UTF-8")?,
        4 => Value::Array((0..argument).map(|_| value(rest)).collect::<Result<_, _>>()?),
        5 => {
            let mut entries: Vec<(u64, Value)> = Vec::new();
            for _ in 0..argument {
                let Value::Unsigned(key) = value(rest)? else { return Err("a key is no number".to_owned()) };
                if entries.last().is_some_and(|(last, _)| *last >= key) {
                    return Err("keys do not rise".to_owned());
                }
                entries.push((key, value(rest)?));
            }
            Value::Map(entries)
        }
        7 if first == 0xf4 || first == 0xf5 => Value::Bool,
        _ => return Err("a tag, null, or a number with a fraction".to_owned()),
    })
}

#[test]
fn what_the_conventions_forbid_is_refused() {
    assert_eq!(read(&[0xa1, 0x02, 0x82, 0x18, 0x18, 0xf5]), {
        Ok(Value::Map(vec![(2, Value::Array(vec![Value::Unsigned(24), Value::Bool]))]))
    });
    let refused: [&[u8]; 9] = [
        &[0x18, 0x17],
        &[0x19, 0x00, 0xff],
        &[0x9f, 0xff],
        &[0xf6],
        &[0xc1, 0x00],
        &[0xa2, 0x01, 0x00, 0x01, 0x00],
        &[0x00, 0x00],
        &[0x42, 0x00],
        &[0x61, 0xff],
    ];
    for bytes in refused {
        assert!(read(bytes).is_err(), "{bytes:x?}");
    }
}
