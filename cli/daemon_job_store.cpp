#include "cli/daemon_job_store.h"

#include <nlohmann/json.hpp>

#include "cli/ask_share.h"
#include "cli/output.h"
#include "fuse/control_protocol.h"

namespace umbra {

namespace {

using nlohmann::json;

// Of the records of one request, in bytes: as digits, with room for the rest of it.
constexpr std::size_t kRequestBytes = 24 << 10;

}  // namespace

Result<std::string> DaemonJobStore::create() {
    UMBRA_ASSIGN(const json made, ask_share(share_, control_method::kRestoreCreate));
    return text_in(made, "job");
}

Result<std::string> DaemonJobStore::begin_run(const std::string& job, bool snapshot) {
    UMBRA_ASSIGN(const json begun, ask_share(share_, control_method::kRestoreBegin,
                                             {{"job", job}, {"snapshot", snapshot}}));
    return text_in(begun, "before");
}

void DaemonJobStore::end_run(const std::string& job, bool complete) {
    static_cast<void>(
        ask_share(share_, control_method::kRestoreEnd, {{"job", job}, {"complete", complete}}));
}

Result<void> DaemonJobStore::append(const std::string& job, const std::vector<std::string>& records,
                                    bool sync) {
    for (std::size_t begin = 0; begin < records.size() || (sync && records.empty());) {
        json digits = json::array();
        std::size_t bytes = 0, end = begin;
        while (end < records.size() &&
               (end == begin || bytes + records[end].size() < kRequestBytes)) {
            bytes += records[end].size();
            digits.push_back(encode_hex(records[end++]));
        }
        UMBRA_TRY(ask_share(share_, control_method::kRestoreAppend,
                            {{"job", job},
                             {"records", std::move(digits)},
                             {"sync", sync && end == records.size()}}));
        if (records.empty()) break;
        begin = end;
    }
    return {};
}

Result<std::vector<std::string>> read_job_records(const SharePath& share, const std::string& job) {
    std::vector<std::string> records;
    std::int64_t position = 0;
    do {
        UMBRA_ASSIGN(const json slice, ask_share(share, control_method::kRestoreRead,
                                                 {{"job", job}, {"position", position}}));
        UMBRA_ASSIGN(const std::vector<std::string> digits, optional_texts(slice, "records"));
        for (const auto& text : digits) {
            auto record = decode_hex(text);
            if (!record)
                return error_of(ErrorKind::kSystem, EPROTO,
                                "the daemon's answer cannot be understood: a record");
            records.push_back(std::move(*record));
        }
        position = slice.value("next", std::int64_t{0});
    } while (position != 0);
    return records;
}

Result<std::vector<std::string>> DaemonJobStore::read(const std::string& job) {
    return read_job_records(share_, job);
}

Result<std::vector<std::string>> DaemonJobStore::jobs() {
    UMBRA_ASSIGN(const json listed, ask_share(share_, control_method::kRestoreList));
    std::vector<std::string> ids;
    for (const auto& job : listed) ids.push_back(text_in(job, "job"));
    return ids;
}

Result<void> DaemonJobStore::sync_share() {
    UMBRA_TRY(ask_share(share_, control_method::kRestoreSync));
    return {};
}

UntouchedQuestion ask_untouched(const SharePath& share) {
    return [share](const std::string& token, const std::vector<std::string>& paths) {
        std::vector<bool> known(paths.size());
        for (std::size_t begin = 0; begin < paths.size();) {
            json digits = json::array();
            std::size_t bytes = 0, end = begin;
            while (end < paths.size() &&
                   (end == begin || bytes + paths[end].size() < kRequestBytes)) {
                bytes += paths[end].size() + 4;
                digits.push_back(encode_hex(paths[end++]));
            }
            const auto answers = ask_share(share, control_method::kRestoreUntouched,
                                           {{"token", token}, {"paths", std::move(digits)}});
            for (std::size_t i = begin;
                 answers && answers->is_array() && i < end && i - begin < answers->size(); ++i)
                known[i] = (*answers)[i - begin] == json(true);
            begin = end;
        }
        return known;
    };
}

ChangedQuestion ask_changed(const SharePath& share) {
    return [share](const std::string& token, const std::string& path,
                   std::uint64_t inode) -> KnownRanges {
        std::vector<ByteRange> ranges;
        std::uint64_t position = 0;
        do {
            const auto answer = ask_share(share, control_method::kRestoreChanged,
                                          {{"token", token},
                                           {"paths", json::array({encode_hex(path)})},
                                           {"position", position}});
            const bool known = answer && answer->value("known", false) &&
                               answer->value("inode", std::uint64_t{0}) == inode;
            if (!known) return std::nullopt;
            for (const auto& range : answer->value("ranges", json::array())) {
                if (!range.is_array() || range.size() != 2 || !range[0].is_number_unsigned() ||
                    !range[1].is_number_unsigned())
                    return std::nullopt;
                ranges.push_back({range[0].get<std::uint64_t>(), range[1].get<std::uint64_t>()});
            }
            position = answer->value("next", std::uint64_t{0});
        } while (position != 0);
        return ranges;
    };
}

}  // namespace umbra
