// Small things that a script's lines share when they show snapshots.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "restore/script_host.h"

namespace umbra {

inline nlohmann::json shown_snapshot(const ScriptSnapshot& snapshot) {
    return {{"token", snapshot.token},
            {"share", snapshot.share.root},
            {"created", snapshot.created},
            {"label",
             snapshot.label.empty() ? nlohmann::json(nullptr) : nlohmann::json(snapshot.label)}};
}

inline bool same_snapshot(const ScriptSnapshot& a, const ScriptSnapshot& b) {
    return a.token == b.token && a.share.uuid == b.share.uuid;
}

inline void add_line(std::string& text, const std::string& line) {
    text += (text.empty() ? "" : "\n") + line;
}

}  // namespace umbra
