//! The formats of calls: what begins and ends one, and how a chat template tells which it is.

use serde_json::Value;

use self::ToolSyntax::{Declared, Hermes, Llama, Mistral, MistralNamed, Xml};

/// A format that models were trained to write calls in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolSyntax {
    /// `<tool_call>{"name": .., "arguments": {..}}</tool_call>`: Hermes, Qwen, and every model that
    /// has no format of its own.
    Hermes,
    /// `{"name": .., "parameters": {..}}` and nothing else: Llama 3.
    Llama,
    /// `[TOOL_CALLS] [{"name": .., "arguments": {..}}, ..]`: Mistral.
    Mistral,
    /// `[TOOL_CALLS]name[ARGS]{..}`: newer Mistral.
    MistralNamed,
    /// `<tool_call><function=name><parameter=city>..</parameter></function></tool_call>`:
    /// Qwen3-Coder.
    Xml,
    /// `<start_function_call>call:name{city:..}<end_function_call>`: FunctionGemma.
    Declared,
}

impl ToolSyntax {
    /// The format that a template which prints tools asks the model for; `None`: none of these.
    pub(in super::super) fn of_template(source: &str) -> Option<Self> {
        let has = |text: &str| source.contains(text);
        if has("<start_function_call>") {
            Some(Self::Declared)
        } else if has("[TOOL_CALLS]") {
            Some(if has("[ARGS]") { Self::MistralNamed } else { Self::Mistral })
        } else if has("<function=") && has("<parameter=") {
            Some(Self::Xml)
        } else if has("<tool_call>") {
            Some(Self::Hermes)
        } else if has("<|python_tag|>") || has(r#""parameters": "#) {
            Some(Self::Llama)
        } else {
            None
        }
    }

    /// What one call is written as, where calls have to be written.
    pub fn shape(self) -> CallShape {
        let json = CallShape {
            list: None,
            begin: &["<tool_call>", "\n{\"name\": \""],
            middle: &["\", \"arguments\": "],
            end: &["}\n", "</tool_call>"],
            between: "\n",
        };
        match self {
            // Their JSON is read as well, and a schema can say what is valid.
            Self::Hermes | Self::Xml => json,
            Self::Declared => CallShape {
                begin: &["<start_function_call>", "{\"name\": \""],
                end: &["}", "<end_function_call>"],
                between: "",
                ..json
            },
            Self::Llama => CallShape {
                begin: &["{\"name\": \""],
                middle: &["\", \"parameters\": "],
                end: &["}"],
                ..json
            },
            Self::Mistral => CallShape {
                list: Some("[TOOL_CALLS]"),
                begin: &["{\"name\": \""],
                end: &["}"],
                between: ", ",
                ..json
            },
            Self::MistralNamed => CallShape {
                begin: &["[TOOL_CALLS]"],
                middle: &["[ARGS]"],
                end: &[],
                between: "",
                ..json
            },
        }
    }

    /// Whether an answer has one call at most.
    pub fn is_single(self) -> bool {
        // Its templates refuse conversations with more.
        self == Self::Llama
    }
}

/// The text around a call's name and arguments. Each piece is text, or the spelling of what is a
/// control token in some vocabularies.
#[derive(Clone, Copy, Debug)]
pub struct CallShape {
    /// Comes before a list in brackets that all calls are in.
    pub list: Option<&'static str>,
    /// Before the name.
    pub begin: &'static [&'static str],
    /// Between name and arguments.
    pub middle: &'static [&'static str],
    /// Behind the arguments.
    pub end: &'static [&'static str],
    /// Between calls.
    pub between: &'static str,
}

impl CallShape {
    /// Whether a call is a JSON object with nothing around it.
    pub fn is_bare(&self) -> bool {
        self.list.is_none() && self.begin.first().is_some_and(|text| text.starts_with('{'))
    }
}

/// What follows an opener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Body {
    /// A JSON object, a list of them, or tags.
    Marked,
    /// The same in JSON, but it is a call only if it names an offered tool.
    Unmarked,
    /// JSON, or a name and its arguments.
    Named,
    /// FunctionGemma's.
    Declared,
}

/// What calls begin with.
#[derive(Debug)]
pub(in super::super) struct Opener {
    pub(in super::super) text: &'static str,
    /// Whether `text` is the beginning of the body too.
    pub(in super::super) is_body: bool,
    /// Ends a call; empty: nothing does.
    pub(in super::super) closer: &'static str,
    pub(in super::super) body: Body,
    syntaxes: &'static [ToolSyntax],
}

/// No one of them begins another. Models that are small or little trained on calls write them in
/// a fence, or with nothing around: such are taken for calls where they name an offered tool.
pub(in super::super) const OPENERS: &[Opener] = &[
    opener("<tool_call>", "</tool_call>", Body::Marked, &[Hermes, Xml]),
    opener("<tools>", "</tools>", Body::Unmarked, &[Hermes]),
    opener("```json", "```", Body::Unmarked, &[Hermes, Llama]),
    opener("<function=", "</tool_call>", Body::Marked, &[Xml]).with_body(),
    opener("[TOOL_CALLS]", "", Body::Named, &[Mistral, MistralNamed]),
    opener("[{", "", Body::Unmarked, &[Mistral]).with_body(),
    opener("<|python_tag|>", "", Body::Marked, &[Llama]),
    opener("<start_function_call>", "<end_function_call>", Body::Declared, &[Declared]),
    opener("{", "", Body::Unmarked, &[Hermes, Llama, Mistral]).with_body(),
];

/// Spellings that are syntax where a vocabulary has control tokens for them.
pub(in super::super) const MARKERS: &[&str] = &[
    "<tool_call>",
    "</tool_call>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "[CALL_ID]",
    "<|python_tag|>",
    "<start_function_call>",
    "<end_function_call>",
    "<escape>",
];

const fn opener(
    text: &'static str,
    closer: &'static str,
    body: Body,
    syntaxes: &'static [ToolSyntax],
) -> Opener {
    Opener { text, is_body: false, closer, body, syntaxes }
}

impl Opener {
    const fn with_body(mut self) -> Self {
        self.is_body = true;
        self
    }

    /// Whether calls of a format may begin so.
    pub(in super::super) fn is_of(&self, syntax: ToolSyntax) -> bool {
        self.syntaxes.contains(&syntax)
    }

    /// Whether it is text that answers are full of, and a call only where nothing comes before.
    pub(in super::super) fn stands_first(&self) -> bool {
        self.is_body && self.body == Body::Unmarked
    }
}

/// The tools of one request, as far as reading calls needs to know them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolOffer {
    /// How the model writes calls.
    pub syntax: ToolSyntax,
    /// All that it may call.
    pub tools: Vec<OfferedTool>,
    /// Whether the answer ends with its first call.
    pub is_single: bool,
}

/// A tool, as far as reading calls needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedTool {
    name: String,
    /// Parameters that are not strings.
    json_parameters: Vec<String>,
}

impl OfferedTool {
    /// A tool whose arguments fit `schema`.
    pub fn new(name: &str, schema: Option<&Value>) -> Self {
        let properties = schema.and_then(|schema| schema["properties"].as_object());
        let is_json = |property: &&Value| match &property["type"] {
            Value::String(kind) => kind != "string",
            Value::Array(kinds) => !kinds.iter().any(|kind| kind == "string"),
            _ => false,
        };
        let of_json = properties.into_iter().flatten().filter(|(_, property)| is_json(property));
        let json_parameters = of_json.map(|(name, _)| name.clone()).collect();
        Self { name: name.to_owned(), json_parameters }
    }
}

impl ToolOffer {
    pub(super) fn knows(&self, name: &str) -> bool {
        self.tools.iter().any(|tool| tool.name == name)
    }

    /// Whether a tool's parameter is something else than a string.
    pub(super) fn is_json(&self, tool: &str, parameter: &str) -> bool {
        let tool = self.tools.iter().find(|offered| offered.name == tool);
        tool.is_some_and(|tool| tool.json_parameters.iter().any(|name| name == parameter))
    }
}
