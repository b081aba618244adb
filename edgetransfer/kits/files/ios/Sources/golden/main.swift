// Runs the golden cases, says which step of which is wrong, and times the model:
// golden [MODEL_FOLDER [GOLDEN_FOLDER]]
//
// Exits with 1 where a case is wrong. All that was measured goes to measured.json in the working
// directory.

import EdgeModel
import EdgeModelCheck
import Foundation

let given = CommandLine.arguments.dropFirst().map { URL(fileURLWithPath: $0) }
do {
    let check = try Check(EdgeModel(folder: given.first), golden: given.dropFirst().first)
    try check.run()
    try check.time()
    try check.measured().write(to: URL(fileURLWithPath: "measured.json"))
    for line in check.report { print(line) }
    exit(check.wrong.isEmpty ? 0 : 1)
} catch {
    FileHandle.standardError.write(Data("\(error)\n".utf8))
    exit(1)
}
