//! Attributes as OTLP has them.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};

/// A list of attributes that is being made.
#[derive(Debug, Default)]
pub(in crate::telemetry) struct Attributes(Vec<KeyValue>);

impl Attributes {
    /// Adds one.
    pub(in crate::telemetry) fn add(&mut self, key: impl Into<String>, value: impl IntoValue) -> &mut Self {
        if let Some(value) = value.into_value() {
            self.0.push(KeyValue {
                key: key.into(),
                value: Some(AnyValue { value: Some(value) }),
                ..KeyValue::default()
            });
        }
        self
    }

    pub(in crate::telemetry) fn into_inner(self) -> Vec<KeyValue> {
        self.0
    }
}

/// What can be the value of an attribute; `None` adds none.
pub(in crate::telemetry) trait IntoValue {
    fn into_value(self) -> Option<Value>;
}

impl IntoValue for &str {
    fn into_value(self) -> Option<Value> {
        Some(Value::StringValue(self.to_owned()))
    }
}

impl IntoValue for String {
    fn into_value(self) -> Option<Value> {
        Some(Value::StringValue(self))
    }
}

impl IntoValue for bool {
    fn into_value(self) -> Option<Value> {
        Some(Value::BoolValue(self))
    }
}

impl IntoValue for f64 {
    fn into_value(self) -> Option<Value> {
        Some(Value::DoubleValue(self))
    }
}

impl IntoValue for u64 {
    fn into_value(self) -> Option<Value> {
        Some(Value::IntValue(i64::try_from(self).unwrap_or(i64::MAX)))
    }
}

impl IntoValue for u16 {
    fn into_value(self) -> Option<Value> {
        Some(Value::IntValue(self.into()))
    }
}

impl IntoValue for &serde_json::Number {
    fn into_value(self) -> Option<Value> {
        self.as_i64().map(Value::IntValue).or_else(|| self.as_f64().map(Value::DoubleValue))
    }
}

impl<T: IntoValue> IntoValue for Option<T> {
    fn into_value(self) -> Option<Value> {
        self.and_then(T::into_value)
    }
}
