use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn whatever_arrives_is_parsed_without_a_panic(bytes: Vec<u8>) {
        match parse(&bytes) {
            Parsed::Refused(code) => {
                let answer = refusal(&bytes, code).unwrap();
                prop_assert_eq!(&answer[..2], &bytes[..2]);
                prop_assert_ne!(answer[2] & ANSWER, 0);
            }
            Parsed::Query(query) => prop_assert_eq!(query.queries().len(), 1),
            Parsed::Ignored => {
                prop_assert!(bytes.len() < HEADER || bytes[2] & ANSWER != 0);
            }
        }
    }

    #[test]
    fn a_mangled_query_is_parsed_without_a_panic(at in 0usize..40, byte: u8, cut in 0usize..40) {
        let mut query = Message::new();
        query.add_query(Query::query("a.example.com.".parse().unwrap(), RecordType::A));
        let mut bytes = query.to_vec().unwrap();
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        bytes.truncate(bytes.len().saturating_sub(cut));
        if let Parsed::Query(query) = parse(&bytes) {
            let question = query.queries()[0].clone();
            let answer = fake(&query, &question);
            prop_assert!(answer.is_none_or(|answer| answer.len() >= HEADER));
        }
    }
}
