//! Chat templates: from messages to a prompt, by the Jinja template that comes with a model.
//!
//! Promises: renders as Python's Jinja does under Hugging Face's settings; control tokens in the
//! prompt are those that the template's author wrote ([`marks`]); a template that loops or grows
//! without end is stopped.
//! Never knows: ids, HTTP, the clock (the caller says what time it is).

mod dates;
mod marks;
mod messages;
mod python;

use std::collections::BTreeMap;
use std::error::Error as _;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, ErrorKind};
use serde_json::Map;

use self::marks::Marks;
use self::python::Raised;
use super::tool_calls::{fit_call_ids, tool_turns};
use super::{AnswerFormat, Segment, Tokenizer};

pub use self::messages::ChatMessage;
pub(super) use self::python::to_json;

/// What one rendering may cost: about this many instructions, or 64 times as many bytes of text.
/// A long conversation takes a hundredth of it.
const FUEL: u64 = 10_000_000;

/// How deep macros and loops may nest.
const MAX_DEPTH: usize = 100;

/// Why a template cannot be used, or why it does not render these messages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The template itself is wrong; nothing renders.
    #[error("the chat template does not compile: {0}")]
    Syntax(String),
    /// The template puts a control token together out of pieces, so that it cannot be told from
    /// one that a user wrote.
    #[error("the chat template assembles the control token {0:?} from pieces: write it whole")]
    AssembledControlToken(String),
    /// The template refused the messages, in its own words.
    #[error("{0}")]
    Refused(String),
    /// The template failed on these messages.
    #[error("the chat template fails on these messages: {0}")]
    Failed(String),
    /// The template did not end within its budget.
    #[error("the chat template takes too long for these messages")]
    TooExpensive,
}

/// What a template is told beside the messages.
#[derive(Debug, Clone, Default)]
pub struct TemplateOptions {
    /// Whether the prompt ends where the assistant begins to speak.
    pub add_generation_prompt: bool,
    /// Whether the prompt ends where the last message's text does, for an answer that goes on with
    /// it.
    pub continues_last: bool,
    /// The tools the model may call, as in the request.
    pub tools: Option<serde_json::Value>,
    /// The time now, in Unix seconds: some templates tell the model the date (in UTC).
    pub now: i64,
    /// Whether the model should reason first, for templates that ask; `None`: its own default.
    pub enable_thinking: Option<bool>,
    /// Further variables of the template (`chat_template_kwargs`).
    pub variables: Map<String, serde_json::Value>,
}

/// A compiled template. Share it: rendering takes `&self`.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    marks: Marks,
    bos: String,
    eos: String,
    /// The template refuses or ignores system messages: they go into the user's turn.
    folds_system: bool,
    /// The template prints tool calls' arguments as text, not as JSON.
    wants_text_arguments: bool,
    format: AnswerFormat,
}

const NAME: &str = "chat";

impl ChatTemplate {
    /// Compiles `source` and finds out what messages it understands. The control tokens that it
    /// may write are those of `tokenizer`.
    pub fn compile(source: &str, tokenizer: &Tokenizer) -> Result<Self, TemplateError> {
        let mut marks = Marks::new(source)?;
        let written = source;
        let source = marks.mark_source(&without_generation_tags(source), tokenizer)?;
        let bos = marks.mark(tokenizer.bos_text());
        let eos = marks.mark(tokenizer.eos_text());
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("the delimiters are the default ones"));
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(MAX_DEPTH);
        python::install(&mut environment);
        environment
            .add_template_owned(NAME, source)
            .map_err(|error| TemplateError::Syntax(marks.restore(&error.to_string())))?;
        let mut template = Self {
            environment,
            marks,
            bos,
            eos,
            folds_system: false,
            wants_text_arguments: false,
            format: AnswerFormat::of_template(written, false, tokenizer),
        };
        template.probe();
        let prints_tools = template.prints_tools();
        template.format = AnswerFormat::of_template(written, prints_tools, tokenizer);
        Ok(template)
    }

    /// How the model answers.
    pub fn format(&self) -> &AnswerFormat {
        &self.format
    }

    /// The prompt for a conversation in which tools may be called, whether or not the template
    /// knows of any.
    pub fn render_with_tools(
        &self,
        messages: &[ChatMessage],
        options: &TemplateOptions,
    ) -> Result<Vec<Segment>, TemplateError> {
        if self.format.knows_tools {
            let mut messages = messages.to_vec();
            fit_call_ids(&mut messages, self.format.syntax);
            return self.render(&messages, options);
        }
        let messages = tool_turns(messages, options.tools.as_ref());
        self.render(&messages, &TemplateOptions { tools: None, ..options.clone() })
    }

    /// The prompt for `messages`, in parts that say who wrote them.
    pub fn render(
        &self,
        messages: &[ChatMessage],
        options: &TemplateOptions,
    ) -> Result<Vec<Segment>, TemplateError> {
        let rendered = match self.render_marked(messages, options, false) {
            // Few templates expect a turn without text, though a turn of tool calls has none.
            Err(TemplateError::Failed(_)) if messages.iter().any(|m| m.content.is_none()) => {
                self.render_marked(messages, options, true)
            }
            rendered => rendered,
        };
        rendered.map(|text| self.marks.segments(&text))
    }

    fn render_marked(
        &self,
        messages: &[ChatMessage],
        options: &TemplateOptions,
        empties_missing: bool,
    ) -> Result<String, TemplateError> {
        let mut list = messages::to_json(messages, self.folds_system, self.wants_text_arguments);
        if empties_missing {
            messages::empty_missing_content(&mut list);
        }
        list.iter_mut().for_each(marks::escape);
        if options.continues_last {
            messages::mark_end(&mut list);
        }
        let mut context: BTreeMap<String, Value> = BTreeMap::new();
        let mut set = |name: &str, value: Value| context.insert(name.to_owned(), value);
        let now = options.now;
        set("date_string", dates::strftime("%d %b %Y", now).into());
        set("strftime_now", Value::from_function(move |format: &str| dates::strftime(format, now)));
        if let Some(enabled) = options.enable_thinking {
            set("enable_thinking", enabled.into());
        }
        for (name, value) in &options.variables {
            set(name, self.user_value(value.clone()));
        }
        let tools = options.tools.clone().unwrap_or_default();
        set("messages", Value::from(Serde(list)));
        set("tools", self.user_value(tools));
        set("documents", Value::from(())); // as `apply_chat_template` passes it
        set("add_generation_prompt", options.add_generation_prompt.into());
        set("bos_token", self.bos.as_str().into());
        set("eos_token", self.eos.as_str().into());
        let template = self.environment.get_template(NAME).expect("`compile` has added it");
        let rendered = template.render(Value::from_pairs(context));
        let mut rendered = rendered.map_err(|error| self.explain(&error))?;
        if options.continues_last {
            let end = rendered.rfind(marks::CUT).ok_or_else(|| {
                let why = "it does not show the last message's text, which is to be gone on with";
                TemplateError::Failed(why.to_owned())
            })?;
            rendered.truncate(end);
        }
        Ok(rendered)
    }

    /// What a caller wrote, as the template sees it.
    fn user_value(&self, mut value: serde_json::Value) -> Value {
        marks::escape(&mut value);
        Value::from(Serde(value))
    }

    fn explain(&self, error: &minijinja::Error) -> TemplateError {
        if error.kind() == ErrorKind::OutOfFuel {
            return TemplateError::TooExpensive;
        }
        let mut source = error.source();
        while let Some(cause) = source {
            if let Some(Raised(message)) = cause.downcast_ref() {
                return TemplateError::Refused(self.marks.restore(message));
            }
            source = cause.source();
        }
        TemplateError::Failed(self.marks.restore(&error.to_string()))
    }

    /// Renders small conversations to see what the template understands, as llama.cpp does.
    fn probe(&mut self) {
        let user = ChatMessage::new("user", "probe-user");
        let with_system = [ChatMessage::new("system", "probe-system"), user.clone()];
        if !self.shows("probe-user", std::slice::from_ref(&user)) {
            return; // it needs something that nobody can guess
        }
        self.folds_system = !self.shows("probe-system", &with_system);
        let call = serde_json::json!([{
            "id": "probe0001", // nine characters, which Mistral's templates insist on
            "type": "function",
            "function": {"name": "probe", "arguments": {"probe-key": "probe-value"}},
        }]);
        let extra = Map::from_iter([("tool_calls".to_owned(), call)]);
        let with_call = [user, ChatMessage { role: "assistant".into(), content: None, extra }];
        if !self.shows("probe-key", &with_call) {
            self.wants_text_arguments = true;
            self.wants_text_arguments = self.shows("probe-key", &with_call);
        }
    }

    /// Whether it tells the model about tools.
    fn prints_tools(&self) -> bool {
        let function = serde_json::json!({
            "name": "probe-tool",
            "description": "",
            "parameters": {"type": "object", "properties": {}},
        });
        let tools = Some(serde_json::json!([{"type": "function", "function": function}]));
        let options = TemplateOptions { add_generation_prompt: true, tools, ..Default::default() };
        let rendered = self.render_marked(&[ChatMessage::new("user", "u")], &options, false);
        rendered.is_ok_and(|rendered| rendered.contains("probe-tool"))
    }

    /// Whether the prompt for `messages` contains `text`.
    fn shows(&self, text: &str, messages: &[ChatMessage]) -> bool {
        let options = TemplateOptions { add_generation_prompt: true, ..Default::default() };
        let shows = |empties_missing| {
            let rendered = self.render_marked(messages, &options, empties_missing);
            rendered.is_ok_and(|rendered| rendered.contains(text))
        };
        shows(false) || (messages.iter().any(|m| m.content.is_none()) && shows(true))
    }
}

/// `{% generation %}` marks what to train on; Python's Jinja needs an extension to skip it.
fn without_generation_tags(source: &str) -> String {
    let mut result = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        result.push_str(before);
        let Some(len) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let (inside, after) = (&tag[2..len], &tag[len..]);
        let word = inside.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        let kept = match word {
            // Same dashes, same white space: tags that do nothing take their place.
            "generation" => inside.replace(word, "if true"),
            "endgeneration" => inside.replace(word, "endif"),
            _ => inside.to_owned(),
        };
        result.push_str("{%");
        result.push_str(&kept);
        rest = after;
    }
    result + rest
}

#[cfg(test)]
mod tests;
