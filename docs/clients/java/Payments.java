import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Send three payments and handle every score that comes: keyed, idempotent, read committed, each once. */
public class Payments {
    private static final Map<String, String> ENV = System.getenv();
    private static final String BOOTSTRAP = ENV.getOrDefault("BOOTSTRAP_SERVERS", "localhost:9092");
    private static final String PAYMENTS = ENV.getOrDefault("PAYMENTS_TOPIC", "transactions");
    private static final String SCORES = ENV.getOrDefault("SCORES_TOPIC", "fraud-scores");
    private static final String GROUP = ENV.getOrDefault("CONSUMER_GROUP", "alerts");
    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] args) throws Exception {
        Set<String> wanted = new HashSet<>();
        List<Map<String, Object>> payments = new ArrayList<>();
        for (String user : List.of("anna", "bob", "clara")) {
            String id = UUID.randomUUID().toString();
            wanted.add(id);
            payments.add(Map.of(
                "transaction_id", id,
                "user_id", user,
                "amount", 19.90,
                "created_at", Instant.now().toString(), // RFC 3339, with its offset
                "is_vpn", false));
        }
        send(payments);
        if (!readScores(wanted, Instant.now().plusSeconds(60))) {
            throw new IllegalStateException("after a minute there are payments without a score");
        }
    }

    /** Return once the brokers have all of them; throw if one of them was not taken. */
    private static void send(List<Map<String, Object>> payments) throws Exception {
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", BOOTSTRAP,
            "enable.idempotence", true, // the default; the default partitioner is the right one, too
            "delivery.timeout.ms", 60_000,
            "max.block.ms", 20_000, // how long send() waits where no broker answers
            "key.serializer", StringSerializer.class,
            "value.serializer", StringSerializer.class);
        try (var producer = new KafkaProducer<String, String>(settings)) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (var payment : payments) {
                String user = (String) payment.get("user_id");
                sent.add(producer.send(new ProducerRecord<>(PAYMENTS, user, JSON.writeValueAsString(payment))));
            }
            producer.flush();
            for (var each : sent) {
                each.get(); // throws why one was given up
            }
        }
    }

    /** Handle scores until there is one for each wanted transaction; say whether there was before the deadline. */
    private static boolean readScores(Set<String> wanted, Instant deadline) throws Exception {
        Set<String> handled = new HashSet<>(); // in your system: a unique key where you keep what was done
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", BOOTSTRAP,
            "group.id", GROUP,
            "isolation.level", "read_committed",
            "auto.offset.reset", "earliest",
            "enable.auto.commit", false,
            "key.deserializer", StringDeserializer.class,
            "value.deserializer", StringDeserializer.class);
        try (var consumer = new KafkaConsumer<String, String>(settings)) {
            consumer.subscribe(List.of(SCORES));
            while (!wanted.isEmpty() && Instant.now().isBefore(deadline)) {
                for (var record : consumer.poll(Duration.ofSeconds(1))) {
                    JsonNode score = JSON.readTree(record.value());
                    if (handled.add(source(record))) {
                        handle(score);
                    }
                    wanted.remove(score.get("transaction_id").asText());
                }
                consumer.commitSync(); // after the work: what a crash interrupts comes again
            }
        }
        return wanted.isEmpty();
    }

    /** Which payment's record the score answers. */
    private static String source(ConsumerRecord<String, String> record) {
        List<String> parts = new ArrayList<>();
        for (String name : List.of("source-topic", "source-partition", "source-offset")) {
            parts.add(new String(record.headers().lastHeader(name).value(), StandardCharsets.UTF_8));
        }
        return String.join("/", parts);
    }

    /** Do what a score calls for; here it is printed. */
    private static void handle(JsonNode score) {
        System.out.println(String.join(" ",
            score.get("transaction_id").asText(),
            score.get("user_id").asText(),
            score.get("fraud_probability").asText(),
            score.get("sequence_anomaly").asText()));
    }
}
