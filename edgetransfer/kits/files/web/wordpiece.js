// Texts to token ids, by `vocabulary.txt` and `characters.tsv` of the model folder.

const [DROP, SPACE, ALONE, HANGUL] = [Symbol("drop"), Symbol("space"), Symbol("alone"), Symbol("hangul")];
const KINDS = { drop: DROP, space: SPACE, alone: ALONE, hangul: HANGUL };

const numbers = (text) => text.split(",").filter(Boolean).map(Number);

/** The letters of a syllable of Hangul (Unicode, section 3.12). */
function decomposed(code) {
  const at = code - 0xac00;
  const letters = [0x1100 + Math.floor(at / 588), 0x1161 + Math.floor((at % 588) / 28)];
  return at % 28 ? [...letters, 0x11a7 + (at % 28)] : letters;
}

export class WordPiece {
  /** `vocabulary` and `rows` are lines of the two files, `settings` those of `model.tsv`. */
  constructor(vocabulary, rows, settings) {
    this.ids = new Map(vocabulary.map((token, id) => [token, id]));
    this.ranges = rows.map((row) => {
      const [first, last, kind, to] = row.split("\t");
      const becomes = KINDS[kind] ?? to.split(" ").map((hex) => parseInt(hex, 16));
      return { first: parseInt(first, 16), last: parseInt(last, 16), becomes };
    });
    this.longest = Number(settings.get("longest"));
    this.longestWord = Number(settings.get("longest_word"));
    this.longestToken = vocabulary.reduce((most, token) => Math.max(most, [...token].length), 1);
    this.unknown = Number(settings.get("unknown"));
    this.before = numbers(settings.get("before"));
    this.after = numbers(settings.get("after"));
    this.keepsEnd = settings.get("truncate") === "left";
    this.added = [...settings]
      .filter(([name, token]) => name.startsWith("added.") && token)
      .map(([name, token]) => [token, Number(name.slice("added.".length))])
      .sort(([one], [other]) => other.length - one.length);
  }

  /** Return the ids of a text, those around it included, `longest` at most. */
  encode(text) {
    const found = [];
    for (const part of this.#parts(text)) {
      if (typeof part === "number") found.push(part);
      else for (const word of this.words(part)) found.push(...this.#ofWord(word));
    }
    const room = Math.max(0, this.longest - this.before.length - this.after.length);
    const kept = this.keepsEnd ? found.slice(Math.max(0, found.length - room)) : found.slice(0, room);
    return [...this.before, ...kept, ...this.after];
  }

  /** Yield the words of a text in which no added token stands, each a list of characters. */
  *words(text) {
    let word = [];
    for (const code of this.#changed(text)) {
      const kind = this.#becomes(code);
      if (kind !== SPACE && kind !== ALONE) {
        word.push(String.fromCodePoint(code));
        continue;
      }
      if (word.length) yield word;
      word = [];
      if (kind === ALONE) yield [String.fromCodePoint(code)];
    }
    if (word.length) yield word;
  }

  /** Yield what stands between added tokens, and the ids of those. */
  *#parts(text) {
    let start = 0;
    for (let at = 0; at < text.length; ) {
      const found = this.added.find(([token]) => text.startsWith(token, at));
      if (!found) {
        at += 1;
        continue;
      }
      yield text.slice(start, at);
      yield found[1];
      start = at += found[0].length;
    }
    yield text.slice(start);
  }

  /** Yield the code points that those of a text become. Half of a pair counts as U+FFFD. */
  *#changed(text) {
    for (const letter of text.toWellFormed()) {
      const code = letter.codePointAt(0);
      const becomes = this.#becomes(code);
      if (Array.isArray(becomes)) yield* becomes;
      else if (becomes === HANGUL) yield* decomposed(code);
      else if (becomes !== DROP) yield code;
    }
  }

  #becomes(code) {
    let [low, high] = [0, this.ranges.length - 1];
    while (low <= high) {
      const middle = (low + high) >> 1;
      const range = this.ranges[middle];
      if (code < range.first) high = middle - 1;
      else if (code > range.last) low = middle + 1;
      else return range.becomes;
    }
    return undefined;
  }

  #ofWord(letters) {
    if (letters.length > this.longestWord) return [this.unknown];
    const found = [];
    for (let start = 0; start < letters.length; ) {
      let end = Math.min(letters.length, start + this.longestToken);
      let id;
      for (; end > start; end -= 1) {
        id = this.ids.get((start ? "##" : "") + letters.slice(start, end).join(""));
        if (id !== undefined) break;
      }
      if (id === undefined) return [this.unknown];
      found.push(id);
      start = end;
    }
    return found;
  }
}
