// The control socket: requests of any bytes, down to the methods on a real small volume, and
// answers of any bytes.
#include <memory>

#include "fuse/control_protocol.h"
#include "fuse/volume_methods.h"
#include "snapstore/volume.h"
#include "tests/fuzz/fuzz_target.h"

namespace umbra::fuzz {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kRunsOfOneVolume = 300;
constexpr std::size_t kMostSnapshots = 8;

class Share {
   public:
    Share() {
        fs::create_directories(path_ / "folder");
        write_file(path_ / "folder" / "file", "first");
        CreateOptions create;
        create.share = path_;
        require(Volume::create(create).has_value(), "no volume");
        OpenOptions options;
        options.share = path_;
        options.memory_bytes = 8 << 20;
        auto opened = Volume::open(options, [](const Event&) {});
        require(opened.has_value(), "the volume does not open");
        volume_ = std::move(*opened);
        Volume::SnapshotOptions first;
        first.label = "first";
        require(volume_->create_snapshot(first).has_value(), "no snapshot");
    }
    ~Share() {
        volume_.reset();
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    Share(const Share&) = delete;
    Share& operator=(const Share&) = delete;

    Volume& volume() { return *volume_; }
    void keep_small() {
        for (const auto& snapshot : volume_->catalog().snapshots()) {
            if (volume_->catalog().snapshots().size() <= kMostSnapshots) break;
            static_cast<void>(volume_->release(snapshot.epoch, ""));
            require(volume_->delete_snapshot(snapshot.epoch).has_value(), "no deletion");
        }
    }

   private:
    fs::path path_ = scratch() / "share";
    std::unique_ptr<Volume> volume_;
};

Volume& volume() {
    static Share* share;  // never closed at the end: RocksDB's own globals are gone by then
    static int runs = 0;
    if (share == nullptr || ++runs % kRunsOfOneVolume == 0) {
        delete share;
        share = new Share;
    }
    share->keep_small();
    return share->volume();
}

void answer(std::string_view line) {
    auto request = parse_request(line);
    if (!request) {
        require(json::accept(request.error().reply), "an answer that is no JSON");
        return;
    }
    static_cast<void>(method_access(request->method));
    auto result = call_volume_method(volume(), request->method, request->parameters);
    const std::string reply =
        result ? encode_result(request->id, *result)
               : encode_error(request->id, RpcCode::kMethodFailed, result.error());
    require(json::accept(reply) && reply.find('\n') == std::string::npos,
            "an answer that is no line of JSON");
    auto understood = parse_response(reply, request->id);
    require(understood.has_value() == result.has_value(), "an answer that is not understood");
    // What was understood once is again what it was.
    if (auto encoded = encode_request(*request))
        require(parse_request(*encoded).has_value() || encoded->size() > kMaximumRequestBytes,
                "a request that cannot be sent");
}

}  // namespace

void run_one(std::span<const std::uint8_t> bytes) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (!text.empty() && text.front() == '<') {
        static_cast<void>(parse_response(text.substr(1), json(1)));
        return;
    }
    answer(text);
}

std::vector<std::string> seeds() {
    using namespace control_method;
    std::vector<std::string> list;
    auto add = [&](const char* method, const json& parameters) {
        auto request = encode_request({1, method, parameters});
        require(request.has_value(), "no request for a seed");
        list.push_back(*request);
    };
    add(kStatus, json::object());
    add(kSnapshotList, json::object());
    add(kStorageShow, json::object());
    add(kSnapshotCreate, {{"label", "one"}, {"hold", "audit"}, {"expires", 1'900'000'000}});
    add(kSnapshotHold, {{"name", "first"}, {"reason", "audit"}, {"expires", 1'900'000'000}});
    add(kSnapshotRelease, {{"name", "first"}, {"reason", "audit"}});
    add(kSnapshotDelete, {{"names", {"first", "one"}}});
    add(kSnapshotDelete, {{"oldest", true}});
    add(kSnapshotDelete, {{"all", true}});
    add(kSnapshotDiff, {{"from", "first"}, {"to", nullptr}});
    add(kVersions, {{"path", "folder/file"}});
    add(kVersions, {{"path", "x"}, {"path_hex", "666f"}});
    add(kStorageScrub, {{"cursor", "log 1 64 0"}});
    add(kStorageScrub, {{"cursor", "index 4500 0 0"}});
    add(kShutdown, json::object());
    list.push_back("<" + encode_result(1, {{"a", 1}}));
    list.push_back(
        "<" + encode_error(1, RpcCode::kMethodFailed, Error{EBUSY, ErrorKind::kRefused, "held"}));
    return list;
}

}  // namespace umbra::fuzz
