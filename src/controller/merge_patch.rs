//! JSON merge patches (RFC 7396) as the difference of two documents.

use serde_json::{Map, Value};

/// The patch that turns `old` into `new`. Empty if they are equal.
pub fn diff(old: &Value, new: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return new.clone();
    };
    let mut patch = Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        match old.get(key) {
            Some(before) if before == value => {}
            Some(before) if before.is_object() && value.is_object() => {
                patch.insert(key.clone(), diff(before, value));
            }
            _ => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(patch)
}

/// Applies a patch.
#[cfg(test)]
pub fn apply(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    for (key, value) in patch {
        let target = target.as_object_mut().expect("made an object above");
        if value.is_null() {
            target.remove(key);
        } else {
            apply(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_holds_what_changed_and_nothing_else() {
        let old = json!({"phase": "Running", "attempt": 2, "assignment": {"pod": "p"}, "progress": {"bytes": 1}});
        let new = json!({"phase": "Succeeded", "attempt": 2, "progress": {"bytes": 1}, "conditions": [1]});
        let patch = json!({"phase": "Succeeded", "assignment": null, "conditions": [1]});
        assert_eq!(diff(&old, &new), patch);
        assert_eq!(diff(&new, &new), json!({}));
    }

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i8>().prop_map(Value::from)
        ];
        let any = leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-c]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        });
        prop::collection::btree_map("[a-c]", any, 0..4)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn the_patch_leads_from_the_old_to_the_new(old in document(), new in document()) {
            let mut target = old.clone();
            apply(&mut target, &diff(&old, &new));
            prop_assert_eq!(target, new);
        }
    }
}
