//! The schemas of tools as Nova takes them: of the outermost object only `type`, `properties` and `required`
//! (<https://docs.aws.amazon.com/nova/latest/userguide/prompting-tool-troubleshooting.html>). It ignores tools that have more, and
//! refuses `$defs`: what stands there is put where it is referred to.

use crate::codec::fields::{Fields, Whole};
use crate::codec::schema::object;
use crate::common::{Extras, Json, Losses, Str};

/// What is deeper and refers to definitions allows everything.
const DEEPEST: u8 = 64;

/// The most that definitions may add to a schema: those that refer to each other can double it with each of them.
const MOST_ADDED: usize = 256 << 10;

/// What says nothing about the arguments, or nothing that the model goes by.
const IDLE: [&str; 8] =
    ["$schema", "$id", "$comment", "title", "additionalProperties", "$defs", "definitions", "examples"];

/// The schema of a tool's arguments.
pub(super) fn schema(parameters: Option<&Json<'_>>, losses: &mut Losses) -> Json<'static> {
    let schema = object(parameters);
    let whole: Whole<'_> = schema.read().unwrap_or_default();
    let definitions = ["$defs", "definitions"].map(|name| {
        let list = whole.rest.iter().find(|(field, _)| *field == *name).and_then(|(_, list)| list.read().ok());
        (name, list.map(|Whole { rest }| rest).unwrap_or_default())
    });
    let mut inliner = Inliner { definitions: &definitions, open: Vec::new(), room: MOST_ADDED };
    let mut kept = Extras::new();
    for (name, value) in &whole.rest {
        match &**name {
            "type" | "required" => kept.push((name.borrowed(), value.borrowed())),
            "properties" => kept.push((name.borrowed(), inliner.walk(value, 0))),
            name => losses.note_if(!IDLE.contains(&name), "tools.schema"),
        }
    }
    Json::of(&Fields(&kept))
}

/// Puts definitions in the place of the references to them.
struct Inliner<'d> {
    definitions: &'d [(&'static str, Extras<'d>)],
    /// Those that are being put in: one that refers to itself has no end.
    open: Vec<&'d str>,
    /// Bytes that may still be added.
    room: usize,
}

impl<'d> Inliner<'d> {
    fn walk(&mut self, value: &Json<'_>, depth: u8) -> Json<'static> {
        if value.get().contains("\"$ref\"") {
            if depth > DEEPEST {
                return Json::of(&Fields::default());
            }
            if let Ok(Whole { rest }) = value.read() {
                return self.object(rest, depth);
            }
            if let Ok(list) = value.read::<Vec<Json<'_>>>() {
                return Json::of(&list.iter().map(|one| self.walk(one, depth + 1)).collect::<Vec<_>>());
            }
        }
        value.clone().into_owned()
    }

    fn object(&mut self, fields: Extras<'_>, depth: u8) -> Json<'static> {
        let (mut out, mut beside) = (Extras::new(), Extras::with_capacity(fields.len()));
        for (name, value) in fields {
            match value.read::<Str<'_>>() {
                Ok(target) if name == *"$ref" => out.extend(self.definition(&target, depth)),
                Ok(_) | Err(_) => beside.push((name, self.walk(&value, depth + 1))),
            }
        }
        // What stands beside a reference has the last word.
        out.retain(|(name, _)| !beside.iter().any(|(other, _)| other == name));
        out.append(&mut beside);
        Json::of(&Fields(&out))
    }

    /// The fields of a definition; of one that is not there, or has no end, none: that allows everything.
    fn definition(&mut self, target: &str, depth: u8) -> Extras<'static> {
        let found = self.definitions.iter().find_map(|(place, list)| {
            let name = target.strip_prefix("#/")?.strip_prefix(place)?.strip_prefix('/')?;
            list.iter().find(|(known, _)| **known == *name)
        });
        let Some((name, definition)) =
            found.filter(|(name, definition)| !self.open.contains(&&**name) && definition.get().len() <= self.room)
        else {
            return Extras::new();
        };
        self.room -= definition.get().len();
        self.open.push(name);
        let inlined = self.walk(definition, depth + 1);
        self.open.pop();
        let Whole { rest } = inlined.read().unwrap_or_default();
        rest.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(schema: &str) -> (String, Vec<String>) {
        let mut losses = Losses::default();
        let schema = super::schema(Json::parse(schema).as_ref(), &mut losses);
        (schema.get().to_owned(), losses.iter().map(|loss| loss.field.clone()).collect())
    }

    #[test]
    fn only_three_fields_stand_outermost() {
        let zod = r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","title":"T","type":"object",
            "properties":{"title":{"type":"object","properties":{},"additionalProperties":false}},"required":["title"],"additionalProperties":false}"#;
        let wanted = r#"{"type":"object","properties":{"title":{"type":"object","properties":{},"additionalProperties":false}},"required":["title"]}"#;
        assert_eq!(written(zod), (wanted.to_owned(), Vec::new()));
        let (schema, lost) = written(r#"{"anyOf":[{"required":["a"]}],"properties":{"a":{}}}"#);
        assert_eq!((&*schema, lost), (r#"{"type":"object","properties":{"a":{}}}"#, vec!["tools.schema".to_owned()]));
        assert_eq!(written("{}").0, r#"{"type":"object","properties":{}}"#);
    }

    #[test]
    fn definitions_stand_where_they_are_referred_to() {
        let schema = r##"{"type":"object","properties":{"a":{"$ref":"#/$defs/A","description":"mine"},
            "list":{"type":"array","items":{"anyOf":[{"$ref":"#/definitions/B"},{"$ref":"#/$defs/none"}]}},"$ref":{"type":"string"}},
            "$defs":{"A":{"type":"object","description":"its","properties":{"b":{"$ref":"#/definitions/B"}}}},"definitions":{"B":{"type":"integer"}}}"##;
        let wanted = r#"{"type":"object","properties":{"a":{"type":"object","properties":{"b":{"type":"integer"}},"description":"mine"},"list":{"type":"array","items":{"anyOf":[{"type":"integer"},{}]}},"$ref":{"type":"string"}}}"#;
        assert_eq!(written(schema).0, wanted);
    }

    #[test]
    fn definitions_without_an_end_have_one() {
        let tree = r##"{"type":"object","properties":{"root":{"$ref":"#/$defs/Node"}},
            "$defs":{"Node":{"type":"object","properties":{"next":{"$ref":"#/$defs/Node"}}}}}"##;
        let wanted = r#"{"type":"object","properties":{"root":{"type":"object","properties":{"next":{}}}}}"#;
        assert_eq!(written(tree).0, wanted);
        let doubled: Vec<String> = (0..40)
            .map(|n| format!(r##""d{n}":{{"a":{{"$ref":"#/$defs/d{m}"}},"b":{{"$ref":"#/$defs/d{m}"}}}}"##, m = n + 1))
            .collect();
        let schema = format!(
            r##"{{"type":"object","properties":{{"x":{{"$ref":"#/$defs/d0"}}}},"$defs":{{{}}}}}"##,
            doubled.join(",")
        );
        let (schema, _) = written(&schema);
        assert!(schema.len() < 2 * MOST_ADDED && !schema.contains("$ref"), "{}", schema.len());
    }
}
