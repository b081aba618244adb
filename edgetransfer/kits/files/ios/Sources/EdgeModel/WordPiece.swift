import Foundation

/// Texts to token ids, by `vocabulary.txt` and `characters.tsv`.
///
/// Everything is of code points: two strings of which Swift says that they are equal can be
/// different tokens.
public struct WordPiece: Sendable {
    typealias Letters = [Unicode.Scalar]

    private enum Kind {
        case letter, space, alone
        case hangul
        case replaced(Letters)
    }

    private struct Range {
        let first, last: Unicode.Scalar
        let kind: Kind
    }

    private static let prefix = Letters("##".unicodeScalars)
    private static let syllables: ClosedRange<UInt32> = 0xAC00...0xD7A3

    private let vocabulary: [Letters: Int64]
    private let ranges: [Range]
    private let added: [(letters: Letters, id: Int64)]
    private let longest, longestWord, longestToken: Int
    private let unknown: Int64
    private let before, after: [Int64]
    private let keepsEnd: Bool

    /// Reads the tables of a folder.
    init(folder: URL, settings: Settings) throws {
        let tokens = try lines(of: folder.appendingPathComponent("vocabulary.txt"))
            .map { Letters($0.unicodeScalars) }
        vocabulary = Dictionary(
            tokens.enumerated().map { ($1, Int64($0)) }, uniquingKeysWith: { $1 })
        longestToken = tokens.map(\.count).max() ?? 1
        ranges = try Self.ranges(of: folder.appendingPathComponent("characters.tsv"))
        added = try settings.all("added.").filter { !$0.value.isEmpty }
            .map { id, token in
                (Letters(token.unicodeScalars), try parsed(id, in: "\(settings.file.path), added"))
            }
            .sorted { $0.letters.count > $1.letters.count }
        longest = try settings.number("longest")
        longestWord = try settings.number("longest_word")
        unknown = try settings.number("unknown")
        before = try numbers(settings["before"], in: "\(settings.file.path), before")
        after = try numbers(settings["after"], in: "\(settings.file.path), after")
        keepsEnd = try settings["truncate"] == "left"
    }

    private static func ranges(of file: URL) throws -> [Range] {
        var found: [Range] = []
        for (number, line) in try lines(of: file).enumerated() {
            guard let range = range(of: cells(of: line)),
                range.first <= range.last, found.last.map({ $0.last < range.first }) ?? true
            else {
                throw KitError(
                    "\(file.path), line \(number + 1): not a range of code points, after that "
                        + "before it, and what becomes of it")
            }
            found.append(range)
        }
        return found
    }

    private static func range(of cells: [String]) -> Range? {
        func letter(_ text: some StringProtocol) -> Unicode.Scalar? {
            UInt32(text, radix: 16).flatMap(Unicode.Scalar.init)
        }
        guard cells.count >= 3, let first = letter(cells[0]), let last = letter(cells[1]) else {
            return nil
        }
        switch (cells[2], cells.count) {
        case ("drop", 3): return Range(first: first, last: last, kind: .replaced([]))
        case ("space", 3): return Range(first: first, last: last, kind: .space)
        case ("alone", 3): return Range(first: first, last: last, kind: .alone)
        case ("hangul", 3):
            guard syllables.contains(first.value), syllables.contains(last.value) else {
                return nil
            }
            return Range(first: first, last: last, kind: .hangul)
        case ("to", 4):
            let words = cells[3].split(separator: " ")
            let letters = words.compactMap(letter)
            guard letters.count == words.count else { return nil }
            return Range(first: first, last: last, kind: .replaced(letters))
        default: return nil
        }
    }

    /// The ids of a text, those around it included, `longest` at most.
    public func ids(of text: String) -> [Int64] {
        let letters = Letters(text.unicodeScalars)
        var found: [Int64] = []
        var start = 0
        var at = 0
        while at < letters.count {
            let rest = letters[at...]
            guard let token = added.first(where: { rest.starts(with: $0.letters) }) else {
                at += 1
                continue
            }
            addWords(letters[start..<at], to: &found)
            found.append(token.id)
            at += token.letters.count
            start = at
        }
        addWords(letters[start...], to: &found)
        let room = max(0, longest - before.count - after.count)
        let kept = keepsEnd ? found.suffix(room) : found.prefix(room)
        return before + kept + after
    }

    private func addWords(_ text: ArraySlice<Unicode.Scalar>, to found: inout [Int64]) {
        var word: Letters = []
        for letter in changed(text) {
            switch kind(of: letter) {
            case .space:
                addParts(of: word, to: &found)
                word = []
            case .alone:
                addParts(of: word, to: &found)
                addParts(of: [letter], to: &found)
                word = []
            default:
                word.append(letter)
            }
        }
        addParts(of: word, to: &found)
    }

    private func changed(_ text: ArraySlice<Unicode.Scalar>) -> Letters {
        text.flatMap { letter -> Letters in
            switch kind(of: letter) {
            case .replaced(let letters): return letters
            case .hangul: return Self.decomposed(letter)
            default: return [letter]
            }
        }
    }

    private func kind(of letter: Unicode.Scalar) -> Kind {
        var (low, high) = (0, ranges.count)
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].last < letter { low = middle + 1 } else { high = middle }
        }
        guard low < ranges.count, ranges[low].first <= letter else { return .letter }
        return ranges[low].kind
    }

    /// Adds the ids of the longest tokens that a word is made of; one alone where it is of none.
    private func addParts(of word: Letters, to found: inout [Int64]) {
        guard word.count <= longestWord else { return found.append(unknown) }
        var parts: [Int64] = []
        var start = 0
        while start < word.count {
            let prefix = start == 0 ? [] : Self.prefix
            var end = min(word.count, start + longestToken)
            while end > start, vocabulary[prefix + word[start..<end]] == nil { end -= 1 }
            guard let id = vocabulary[prefix + word[start..<end]] else {
                return found.append(unknown)
            }
            parts.append(id)
            start = end
        }
        found += parts
    }

    /// The letters of a syllable of Hangul (Unicode, section 3.12).
    private static func decomposed(_ syllable: Unicode.Scalar) -> Letters {
        let index = syllable.value - syllables.lowerBound
        let (first, middle, last) = (index / 588, index % 588 / 28, index % 28)
        let codes = [0x1100 + first, 0x1161 + middle] + (last == 0 ? [] : [0x11A7 + last])
        return codes.compactMap(Unicode.Scalar.init)
    }
}
