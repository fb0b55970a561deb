-- The day of the table of profiles that serving used for each record, where the archive has the record's score.
--
-- Reads   scores                          the archive's table, each record once
-- Gives   (partition, offset, transaction_id, day), days since 1970-01-01, null where there was no table
--
-- A model that reads no profiles leaves the day null as one does that found no table. So the scores of a version count
-- if one of them has a day, or if it is $model_version, of which it is known that it reads profiles. Of several scores
-- of a record, that of $model_version counts, else the first.

SELECT source_partition AS "partition", source_offset AS "offset", transaction_id,
       (profile_day - DATE '1970-01-01')::BIGINT AS day
FROM scores
WHERE source_topic = $topic AND source_offset IS NOT NULL AND (
    model_version IS NOT DISTINCT FROM $model_version
    OR model_version IN (SELECT model_version FROM scores WHERE profile_day IS NOT NULL)
)
QUALIFY row_number() OVER (
    PARTITION BY source_partition, source_offset, transaction_id
    ORDER BY model_version IS DISTINCT FROM $model_version, kafka_timestamp, scores."partition", topic_id, scores."offset"
) = 1
ORDER BY 1, 2  -- so that a lookup skips the rest
