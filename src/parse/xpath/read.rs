//! Text → [`Expr`], by descent: each level of brackets costs one level of calls, and there are at most [`MAX_DEPTH`].

use super::{Axis, BadExpr, Expr, Function, MAX_LENGTH, Path, Spaces, Step, Test};

mod condition;

/// Brackets in brackets.
const MAX_DEPTH: usize = 16;
/// Largest number that is a place or a length.
const MAX_NUMBER: usize = 1_000_000;

/// Reads an expression that begins a text, and gives the bytes behind it. `path`: it must be a path.
pub(crate) fn read_some<'t>(text: &'t str, spaces: Spaces<'_>, path: bool) -> Result<(Expr, &'t str), BadExpr> {
    let mut reader = Reader { all: text, rest: text, spaces, depth: 0 };
    let expr = reader.expr()?;
    reader.blanks();
    let length = text.len() - reader.rest.len();
    if text.get(..length).is_some_and(|used| used.chars().count() > MAX_LENGTH) {
        return Err(BadExpr { at: MAX_LENGTH, what: format!("an expression has at most {MAX_LENGTH} characters") });
    }
    if path && !matches!(&expr, Expr::Path(Path { then: None, .. })) {
        return Err(BadExpr { at: 0, what: "a path is wanted here, not a text or function".to_owned() });
    }
    Ok((expr, reader.rest))
}

struct Reader<'t, 's> {
    all: &'t str,
    rest: &'t str,
    spaces: Spaces<'s>,
    depth: usize,
}

impl<'t> Reader<'t, '_> {
    fn fail<T>(&self, what: impl Into<String>) -> Result<T, BadExpr> {
        let before = self.all.len() - self.rest.len();
        let at = self.all.get(..before).map_or(0, |read| read.chars().count());
        Err(BadExpr { at, what: what.into() })
    }

    fn wanted<T>(&self, what: &str) -> Result<T, BadExpr> {
        match self.rest.chars().next() {
            Some(c) => self.fail(format!("expected {what}, found `{}`", c.escape_debug())),
            None => self.fail(format!("expected {what}, but it ends here")),
        }
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Takes a sign, with blanks before it.
    fn sign(&mut self, sign: &str) -> bool {
        let trimmed = self.rest.trim_start();
        match trimmed.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn must(&mut self, sign: &str) -> Result<(), BadExpr> {
        if self.sign(sign) {
            return Ok(());
        }
        self.blanks();
        self.wanted(&format!("`{sign}`"))
    }

    fn starts(&self, sign: &str) -> bool {
        self.rest.trim_start().starts_with(sign)
    }

    /// Takes a word that ends there.
    fn word(&mut self, word: &str) -> bool {
        let trimmed = self.rest.trim_start();
        match trimmed.strip_prefix(word) {
            Some(rest) if !rest.starts_with(is_name) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Takes a name without prefix, if there is one.
    fn name(&mut self) -> Option<&'t str> {
        if !self.rest.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            return None;
        }
        let end = self.rest.find(|c| !is_name(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        Some(name)
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, BadExpr>) -> Result<T, BadExpr> {
        if self.depth >= MAX_DEPTH {
            return self.fail(format!("brackets are nested more than {MAX_DEPTH} deep"));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn expr(&mut self) -> Result<Expr, BadExpr> {
        self.blanks();
        if self.rest.starts_with(['\'', '"']) {
            return self.literal();
        }
        if let Some(call) = self.call()? {
            return Ok(call);
        }
        self.path().map(Expr::Path)
    }

    fn literal(&mut self) -> Result<Expr, BadExpr> {
        let mut chars = self.rest.chars();
        let quote = chars.next().unwrap_or('\'');
        match chars.as_str().split_once(quote) {
            Some((text, rest)) => {
                self.rest = rest;
                Ok(Expr::Text(text.to_owned()))
            }
            None => self.fail(format!("the text that starts here has no closing {quote}")),
        }
    }

    /// A call of a function, if that is what comes.
    fn call(&mut self) -> Result<Option<Expr>, BadExpr> {
        let start = self.rest;
        let Some(name) = self.name() else { return Ok(None) };
        if !self.starts("(") || name == "text" {
            self.rest = start;
            return Ok(None);
        }
        let Some((_, function, least, most)) = Function::ALL.into_iter().find(|(known, ..)| *known == name) else {
            self.rest = start;
            let known: Vec<&str> = Function::ALL.iter().map(|(known, ..)| *known).collect();
            return self.fail(format!("there is no function `{name}` here; known are {}", known.join(", ")));
        };
        self.must("(")?;
        let arguments = self.deeper(Self::arguments)?;
        if !(least..=most).contains(&arguments.len()) {
            let many = if least == most { format!("{least}") } else { format!("{least} to {most}") };
            self.rest = start;
            return self.fail(format!("{name} takes {many} arguments, not {}", arguments.len()));
        }
        if function == Function::Substring && !arguments.iter().skip(1).all(is_number) {
            self.rest = start;
            return self.fail("substring takes whole numbers from 1: substring(a, 1, 200)");
        }
        Ok(Some(Expr::Call(function, arguments)))
    }

    /// What stands in the brackets of a call, and the closing one.
    fn arguments(&mut self) -> Result<Vec<Expr>, BadExpr> {
        let mut arguments = Vec::new();
        if self.sign(")") {
            return Ok(arguments);
        }
        loop {
            self.blanks();
            let argument = match self.number() {
                Some(number) => Expr::Text(number.to_string()),
                None => self.expr()?,
            };
            arguments.push(argument);
            if self.sign(")") {
                return Ok(arguments);
            }
            if !self.sign(",") {
                self.blanks();
                return self.wanted("`,` or `)`");
            }
        }
    }

    fn number(&mut self) -> Option<usize> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at_checked(end)?;
        let number = digits.parse().ok().filter(|number| (1..=MAX_NUMBER).contains(number))?;
        self.rest = rest;
        Some(number)
    }

    fn path(&mut self) -> Result<Path, BadExpr> {
        let absolute = self.starts("/");
        let mut path = Path { absolute, steps: Vec::new(), then: None };
        if absolute {
            self.slashes(&mut path);
        }
        loop {
            if !path.steps.is_empty() || absolute {
                self.blanks();
                if let Some(call) = self.call()? {
                    path.then = Some(Box::new(call));
                    return Ok(path);
                }
            }
            let step = self.step()?;
            let last = matches!(step.axis, Axis::Attribute | Axis::Text);
            path.steps.push(step);
            if !self.starts("/") {
                return Ok(path);
            }
            if last {
                self.blanks();
                return self.fail("nothing can follow an attribute or text()");
            }
            self.slashes(&mut path);
        }
    }

    /// Takes `/` or `//`.
    fn slashes(&mut self, path: &mut Path) {
        if self.sign("//") {
            path.steps.push(Step { axis: Axis::Descendants, test: Test::default(), predicates: Vec::new() });
        } else {
            self.sign("/");
        }
    }

    fn step(&mut self) -> Result<Step, BadExpr> {
        self.blanks();
        let (axis, test) = if self.sign("..") {
            (Axis::Parent, Test::default())
        } else if self.sign(".") {
            (Axis::Itself, Test::default())
        } else if self.sign("@") {
            (Axis::Attribute, self.attribute()?)
        } else if self.rest.starts_with("text") && self.is_text() {
            (Axis::Text, Test::default())
        } else {
            (Axis::Child, self.element()?)
        };
        let mut predicates = Vec::new();
        while self.sign("[") {
            predicates.push(self.deeper(Self::predicate)?);
            self.must("]")?;
        }
        Ok(Step { axis, test, predicates })
    }

    fn is_text(&mut self) -> bool {
        let start = self.rest;
        let is = self.word("text") && self.sign("(") && self.sign(")");
        if !is {
            self.rest = start;
        }
        is
    }

    fn attribute(&mut self) -> Result<Test, BadExpr> {
        if self.sign("*:") {
            return match self.name() {
                Some(name) => Ok(Test { space: None, name: Some(name.to_owned()) }),
                None => self.wanted("the name of an attribute"),
            };
        }
        if self.sign("*") {
            return Ok(Test::default());
        }
        let Some(name) = self.name() else { return self.wanted("the name of an attribute") };
        if self.rest.starts_with(':') {
            return self.fail("an attribute with a prefix is written @*:NAME");
        }
        Ok(Test { space: Some(String::new()), name: Some(name.to_owned()) })
    }

    fn element(&mut self) -> Result<Test, BadExpr> {
        let start = self.rest;
        let prefix = if self.sign("*") { Some("*") } else { self.name() };
        let Some(prefix) = prefix else { return self.wanted("a path, a function or a text in quotes") };
        let any = |name: &str| (name != "*").then(|| name.to_owned());
        let Some(rest) = self.rest.strip_prefix(':') else {
            let space = (prefix != "*").then(|| self.spaces.own.to_owned());
            return Ok(Test { space, name: any(prefix) });
        };
        self.rest = rest;
        let name = if self.sign("*") { Some("*") } else { self.name() };
        let Some(name) = name else { return self.wanted("the name of an element") };
        if prefix == "*" {
            return Ok(Test { space: None, name: any(name) });
        }
        let Some(space) = self.spaces.prefixes.get(prefix) else {
            self.rest = start;
            return self.fail(format!("the prefix `{prefix}` is not declared; add it to prefixes"));
        };
        Ok(Test { space: Some(space.clone()), name: any(name) })
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

fn is_number(expr: &Expr) -> bool {
    matches!(expr, Expr::Text(text) if text.parse::<usize>().is_ok_and(|number| number > 0))
}
